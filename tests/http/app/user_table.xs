table "user" {
  auth = true
  schema {
    int id
    text name
  }
  index = [
    {type: "primary", field: [{name: "id"}]}
  ]
}
