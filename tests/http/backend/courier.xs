table "courier" {
  auth = true

  schema {
    int id
    text email filters=trim|lower
    password password filters=min:8
    text role?="member"
  }

  index = [
    {type: "primary", field: [{name: "id"}]}
    {type: "btree|unique", field: [{name: "email"}]}
  ]
}
