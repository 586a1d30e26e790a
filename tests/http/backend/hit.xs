table "hit" {
  schema {
    int id
    text word
  }

  index = [
    {type: "primary", field: [{name: "id"}]}
  ]
}
