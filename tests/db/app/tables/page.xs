table "page" {
  schema {
    uuid id
    text body?
  }
  index = [
    {type: "primary", field: [{name: "id"}]}
    {type: "search", field: [{name: "body", op: "A"}]}
  ]
}
