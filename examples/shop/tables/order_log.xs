// What happened to the orders, written by a trigger.
table order_log {
  auth = false

  schema {
    int id
    timestamp created_at?=now
    int order_id {
      table = "order"
    }

    text from?
    text to
  }

  index = [
    {type: "primary", field: [{name: "id"}]}
    {type: "btree", field: [{name: "order_id"}]}
  ]
}
