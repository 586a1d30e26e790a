query "orders" verb=POST {
  api_group = "orders"
  input {
    int total
    text state?="new"
    bool fail?
  }
  stack {
    db.transaction {
      stack {
        db.add order {
          data = {total: $input.total, state: $input.state}
        } as $order
        precondition (!$input.fail) {
          error_type = "inputerror"
          error = "as you wish"
        }
      }
    }
  }
  response = $order
}
