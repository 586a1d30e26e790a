table "note" {
  schema {
    int id
    text title
    text body?
    int rank?
  }
  index = [
    {type: "primary", field: [{name: "id"}]}
    {type: "search", name: "words", lang: "english", field: [{name: "title", op: "A"}, {name: "body", op: "B"}]}
    {type: "vector", field: [{name: "rank", op: "vector_cosine_ops"}]}
  ]
}

