table order {
  auth = false

  schema {
    int id
    timestamp created_at?=now
    int user_id {
      table = "user"
    }

    enum status?=open {
      values = ["open", "paid", "cancelled"]
    }

    // In cents, after the discount.
    int total
  }

  index = [
    {type: "primary", field: [{name: "id"}]}
    {type: "btree", field: [{name: "user_id"}]}
    {
      type : "btree"
      field: [{name: "status"}, {name: "created_at"}]
    }
  ]
}
