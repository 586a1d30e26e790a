query "orders/{order_id}/pay" verb=POST {
  api_group = "orders"
  auth = "user"

  input {
    int order_id
  }

  stack {
    db.query "order" {
      where = $db.order.id == $input.order_id && $db.order.user_id == $auth.id
      return = {type: "single"}
    } as $order

    precondition ($order != null) {
      error_type = "notfound"
      error = "There is no such order."
    }

    precondition ($order.status == "open") {
      error_type = "badrequest"
      error = "The order is " ~ $order.status ~ "."
    }

    db.edit "order" {
      field_name = "id"
      field_value = $order.id
      data = {status: "paid"}
    } as $order

    api.realtime_event {
      channel = "user:" ~ $auth.id
      event = "paid"
      data = {id: $order.id}
      auth_table = "user"
      auth_id = $auth.id
    }
  }

  response = $order
}
