// Its rows come with the program.
table category {
  auth = false

  schema {
    int id
    text name filters=trim
  }

  index = [
    {type: "primary", field: [{name: "id"}]}
    {type: "btree|unique", field: [{name: "name"}]}
  ]

  items = [{id: 1, name: "Tools"}, {id: 2, name: "Paper"}]
}
