table document {
  schema {
    int id
    text title filters=trim|min:1|max:200
    text content?=""
    int version?=0
    timestamp updated_at?=now
  }

  index = [
    {type: "primary", field: [{name: "id"}]}
  ]
}
