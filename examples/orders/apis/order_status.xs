// The shop moves an order on; everyone on the order's channel hears of it, whoever is away later.
query "orders/{order_id}/status" verb=POST {
  api_group = "shop"
  auth = "user"

  input {
    int order_id
    enum status { values = ["new", "paid", "shipped"] }
  }

  stack {
    db.transaction {
      stack {
        db.edit order {
          field_name = "id"
          field_value = $input.order_id
          data = {status: $input.status}
        } as $order

        realtime.publish {
          realtime_server = "shop"
          channel = "orders/" ~ $input.order_id
          message = "status"
          data = {order_id: $input.order_id, status: $input.status}
          auth_table = "user"
          auth_id = $auth.id
        }
      }
    }
  }

  response = $order
}
