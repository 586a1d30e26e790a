table document_op {
  schema {
    int id
    int document_id {
      table = "document"
    }
    int user_id
    int version
    json operation
  }

  index = [
    {type: "primary", field: [{name: "id"}]}
    {type: "btree|unique", field: [{name: "document_id"}, {name: "version"}]}
  ]
}
