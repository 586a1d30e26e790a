// Customers and the people who run the shop.
table user {
  auth = true

  schema {
    int id
    timestamp created_at?=now
    text name filters=trim|min:1|max:80
    email email filters=trim|lower
    password password filters=min:8
    text role?="customer"
  }

  index = [
    {type: "primary", field: [{name: "id"}]}
    {type: "btree|unique", field: [{name: "email"}]}
  ]
}
