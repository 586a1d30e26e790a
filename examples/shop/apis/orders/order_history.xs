query "orders/{order_id}/history" verb=GET {
  api_group = "orders"
  auth = "user"

  input {
    int order_id
  }

  stack {
    db.query "order" {
      where = $db.order.id == $input.order_id && $db.order.user_id == $auth.id
      return = {type: "exists"}
    } as $mine

    precondition ($mine) {
      error_type = "notfound"
      error = "There is no such order."
    }

    db.query "order_log" {
      where = $db.order_log.order_id == $input.order_id
      sort = {id: "asc"}
      return = {type: "list"}
      output = ["created_at", "from", "to"]
    } as $history
  }

  response = $history
}
