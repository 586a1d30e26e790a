table user {
  auth = true

  schema {
    int id
    text name filters=trim|min:1|max:40
  }

  index = [
    {type: "primary", field: [{name: "id"}]}
    {type: "btree|unique", field: [{name: "name"}]}
  ]
}
