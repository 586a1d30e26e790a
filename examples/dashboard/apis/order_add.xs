// Stores an order, tells the watchers of all orders and of this tenant's orders, and refreshes the metrics.
query "orders" verb=POST {
  api_group = "shop"

  input {
    text customer_name filters=trim|min:1|max:120
    decimal total filters=min:0
  }

  stack {
    db.add "order" {
      data = {customer_name: $input.customer_name, total: $input.total}
    } as $order

    api.realtime_event {
      channel = "orders"
      event = "new_order"
      data = {
        order_id: $order.id,
        total: $order.total,
        customer: $order.customer_name
      }
    }

    api.realtime_event {
      channel = "tenant:" ~ $env.$tenant ~ ":orders"
      event = "order_created"
      data = $order
    }

    function.run "update_metrics" as $metrics
  }

  response = {order: $order, metrics: $metrics}
}
