table order {
  schema {
    int id
    text customer_name filters=trim|min:1|max:120
    decimal total filters=min:0
    enum state?="open" {
      values = ["open", "paid", "cancelled"]
    }
    timestamp created_at?=now
  }

  index = [
    {type: "primary", field: [{name: "id"}]}
    {type: "btree", field: [{name: "created_at", op: "desc"}]}
  ]
}
