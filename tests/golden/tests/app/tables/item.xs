table "item" {
  auth = false
  schema {
    int id
    text name
    int price
  }
  index = [{type: "primary", field: [{name: "id"}]}]
}
