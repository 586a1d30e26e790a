// Customers and staff. The example has no passwords: a name is enough to try it.
table user {
  auth = true

  schema {
    int id
    timestamp created_at?=now
    text name filters=trim|min:1|max:40
    text role?="customer"
  }

  index = [
    {type: "primary", field: [{name: "id"}]}
    {type: "btree|unique", field: [{name: "name"}]}
  ]
}
