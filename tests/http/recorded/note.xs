table "note" {
  schema {
    int id
    text text
  }

  index = [{type: "primary", field: [{name: "id"}]}]
}
