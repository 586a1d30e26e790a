// Orders nobody pays within a day go back to the shelves, every hour.
task "cancel stale orders" {
  stack {
    var $a_day_ago {
      value = now|transform_timestamp:"-1 day"
    }

    db.query "order" {
      where = $db.order.status == "open" && $db.order.created_at < $a_day_ago
    } as $stale

    foreach ($stale) {
      each as $order {
        db.transaction {
          stack {
            function.run "cancel_order" {
              input = {order_id: $order.id}
            } as $cancelled
          }
        }
      }
    }
  }

  schedule = [{starts_on: 2026-01-01 00:00:00+0000, freq: 3600}]
}
