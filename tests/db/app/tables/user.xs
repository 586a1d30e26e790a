table "user" {
  auth = true
  schema {
    int id
    timestamp created_at?=now
    email email filters=trim|lower
    password password? filters=min:4
    text name?
    text note? {
      visibility = "internal"
    }
  }
  index = [
    {type: "primary", field: [{name: "id"}]}
    {type: "btree|unique", field: [{name: "email", op: "asc"}]}
  ]
}
