// Places an order: all of its lines or none.
query "orders" verb=POST {
  api_group = "orders"
  auth = "user"

  input {
    object[] lines {
      schema {
        int product_id
        int quantity filters=min:1
      }
    }
  }

  stack {
    precondition (($input.lines|count) > 0) {
      error_type = "inputerror"
      error = "An order needs a line."
    }

    db.transaction {
      stack {
        function.run "take_stock" {
          input = {lines: $input.lines}
        } as $lines

        function.run "price_of" {
          input = {lines: $lines}
        } as $price

        db.add "order" {
          data = {user_id: $auth.id, total: $price.total}
        } as $order

        foreach ($lines) {
          each as $line {
            db.add "order_item" {
              data = {
                order_id  : $order.id
                product_id: $line.product_id
                quantity  : $line.quantity
                price     : $line.price
              }
            }
          }
        }

        api.realtime_event {
          channel = "orders"
          event = "placed"
          data = {id: $order.id, total: $order.total}
          auth_table = ""
          auth_id = null
        }
      }
    }
  }

  response = $order|set:"discount":$price.discount

  test "an empty order is refused" {
    input = {lines: []}

    expect.to_throw {
      exception = "needs a line"
    }
  }

  test "an unknown product is refused" {
    input = {lines: [{product_id: 7, quantity: 1}]}

    expect.to_throw {
      exception = "There is no product 7."
    }

    expect.to_not_have_published ("orders")
  }
}
