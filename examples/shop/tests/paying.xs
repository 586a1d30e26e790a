workflow_test "paying tells the customer alone" {
  tags = ["flow"]

  stack {
    function.call "make_token" {
      input = {user_id: 1, role: "customer"}
    } as $token

    db.add "user" {
      data = {
        name    : "Kim"
        email   : "kim@example.com"
        password: "long enough"
      }
    } as $kim

    db.add "order" {
      data = {user_id: $kim.id, total: 500}
    } as $order

    api.call "orders/{order_id}/pay" verb=POST {
      api_group = "orders"
      headers = ["Authorization: Bearer " ~ $token]
      input = {order_id: $order.id}
    } as $paid

    expect.to_equal ($paid.status) {
      value = "paid"
    }

    expect.to_have_published ("user:1") {
      event = "paid"
      data = {id: $order.id}
      auth_id = 1
      count = 1
    }

    api.call "orders/{order_id}/history" verb=GET {
      api_group = "orders"
      headers = ["Authorization: Bearer " ~ $token]
      input = {order_id: $order.id}
    } as $history

    expect.to_equal ($history) {
      value = [
        {created_at: now, from: "", to: "open"}
        {created_at: now, from: "open", to: "paid"}
      ]
    }

    api.call "orders/{order_id}/pay" verb=POST {
      api_group = "orders"
      headers = ["Authorization: Bearer " ~ $token]
      input = {order_id: $order.id}
    } as $again

    expect.to_equal ($again.message) {
      value = "The order is paid."
    }
  }
}
