table order {
  schema {
    int id
    timestamp created_at?=now
    int user_id { table = "user" }
    text item filters=trim|min:1|max:80
    enum status?="new" { values = ["new", "paid", "shipped"] }
  }

  index = [
    {type: "primary", field: [{name: "id"}]}
  ]
}
