table room {
  schema {
    int id
    text name filters=trim|min:1|max:80
  }

  index = [
    {type: "primary", field: [{name: "id"}]}
    {type: "btree|unique", field: [{name: "name"}]}
  ]
}
