table "tick" {
  schema {
    int id
    int n
  }

  index = [
    {type: "primary", field: [{name: "id"}]}
  ]
}
