table "visitor" {
  schema {
    int id
    text name
  }
  index = [{type: "primary", field: [{name: "id"}]}]
}
