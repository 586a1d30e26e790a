// The orders of whoever asks, newest first, with their lines.
query "orders" verb=GET {
  api_group = "orders"
  auth = "user"

  input {
    int page?=1 filters=min:1
    text? status?
  }

  stack {
    db.query "order" {
      where = $db.order.user_id == $auth.id && $db.order.status ==? $input.status
      sort = {created_at: "desc", id: "desc"}
      return = {
        type  : "list"
        paging: {page: $input.page, per_page: 10, totals: true}
      }
      addon = [
        {
          name : "order_lines"
          input: {order_id: $output.id}
          as   : "items.lines"
        }
      ]
    } as $orders
  }

  response = $orders
}
