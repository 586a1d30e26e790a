// The whole way of an order, through the API.
workflow_test "from signup to delivery" {
  tags = ["flow"]

  stack {
    api.call "signup" verb=POST {
      api_group = "auth"
      input = {name: "Ada", email: "ada@example.com", password: "lovelace"}
    } as $ada

    api.call "signup" verb=POST {
      api_group = "auth"
      input = {
        name    : "Kim"
        email   : "kim@example.com"
        password: "long enough"
      }
    } as $kim

    expect.to_equal ($ada.user.role) {
      value = "admin"
    }

    expect.to_equal ($kim.user.role) {
      value = "customer"
    }

    var $as_ada {
      value = ["Authorization: Bearer " ~ $ada.authToken]
    }

    var $as_kim {
      value = ["Authorization: Bearer " ~ $kim.authToken]
    }

    // Only the admin fills the shelves.
    api.call "products" verb=POST {
      api_group = "catalog"
      headers = $as_kim
      input = {name: "Saw", price: 1990, category_id: 1}
    } as $refused

    expect.to_equal ($refused.code) {
      value = "ERROR_CODE_ACCESS_DENIED"
    }

    api.call "products" verb=POST {
      api_group = "catalog"
      headers = $as_ada
      input = {name: "Saw", price: 1990, stock: 10, category_id: 1}
    } as $saw

    // Kim orders six of ten.
    api.call "orders" verb=POST {
      api_group = "orders"
      headers = $as_kim
      input = {lines: [{product_id: $saw.id, quantity: 6}]}
    } as $order

    expect.to_equal ($order.total) {
      value = 10746
    }

    expect.to_equal ($order.discount) {
      value = 1194
    }

    expect.to_have_published ("orders") {
      event = "placed"
      data = {id: $order.id, total: 10746}
      count = 1
    }

    // Five more are not there, and nothing of that order stays.
    api.call "orders" verb=POST {
      api_group = "orders"
      headers = $as_kim
      input = {
        lines: [
          {product_id: $saw.id, quantity: 1}
          {product_id: $saw.id, quantity: 5}
        ]
      }
    } as $too_many

    expect.to_equal ($too_many.message) {
      value = "Only 3 of Saw left."
    }

    db.get "product" {
      field_name = "id"
      field_value = $saw.id
    } as $shelf

    expect.to_equal ($shelf.stock) {
      value = 4
    }

    api.call "orders" verb=GET {
      api_group = "orders"
      headers = $as_kim
    } as $list

    expect.to_equal ($list.itemsTotal) {
      value = 1
    }

    expect.to_equal ($list.items.0.lines) {
      value = [{product_id: $saw.id, name: "Saw", quantity: 6, price: 1990}]
    }

    // Nobody pays; a day later the task puts them back.
    task.call "cancel stale orders" as $nothing

    db.get "order" {
      field_name = "id"
      field_value = $order.id
    } as $still

    expect.to_equal ($still.status) {
      value = "open"
    }

    test.set_time {
      value = "+25 hours"
    }

    task.call "cancel stale orders" as $nothing

    db.get "order" {
      field_name = "id"
      field_value = $order.id
    } as $gone

    expect.to_equal ($gone.status) {
      value = "cancelled"
    }

    db.get "product" {
      field_name = "id"
      field_value = $saw.id
    } as $shelf

    expect.to_equal ($shelf.stock) {
      value = 10
    }

    // The login is over by now.
    api.call "me" verb=GET {
      api_group = "auth"
      headers = $as_kim
    } as $late

    expect.to_equal ($late.code) {
      value = "ERROR_CODE_UNAUTHORIZED"
    }
  }
}
