table notification {
  schema {
    int id
    int user_id {
      table = "user"
    }
    text type
    text title
    text body
    json? data
    bool read?=false
    timestamp created_at?=now
  }

  index = [
    {type: "primary", field: [{name: "id"}]}
    {type: "btree", field: [{name: "user_id"}, {name: "id", op: "desc"}]}
  ]
}
