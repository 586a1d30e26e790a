table "note" {
  schema {
    int id
    text body
  }
  index = [{type: "primary", field: [{name: "id"}]}]
}
