query "orders/{order_id}/pay" verb=POST {
  api_group = "shop"

  input {
    int order_id
  }

  stack {
    db.get "order" {
      field_name = "id"
      field_value = $input.order_id
    } as $order

    precondition ($order != null) {
      error_type = "notfound"
      error = "No such order"
    }

    precondition ($order.state == "open") {
      error_type = "inputerror"
      error = "The order is not open"
      payload = {state: $order.state}
    }

    db.edit "order" {
      field_name = "id"
      field_value = $order.id
      data = {state: "paid"}
    } as $order
  }

  response = $order
}
