query "orders/{id}" verb=DELETE {
  api_group = "orders"
  input {
    int id
  }
  stack {
    db.del order {
      field_name = "id"
      field_value = $input.id
    }
  }
  response = null
}
