// Products of old orders stay: they are only taken off the list.
query "products/{product_id}" verb=DELETE {
  api_group = "catalog"
  auth = "user"
  middleware = {pre: [{name: "admin_only"}]}

  input {
    int product_id
  }

  stack {
    db.query "order_item" {
      where = $db.order_item.product_id == $input.product_id
      return = {type: "exists"}
    } as $sold

    conditional {
      if ($sold) {
        db.edit "product" {
          field_name = "id"
          field_value = $input.product_id
          data = {active: false}
        }
      }

      else {
        db.del "product" {
          field_name = "id"
          field_value = $input.product_id
        }
      }
    }
  }

  response = {deleted: !$sold}

  test "what is not there cannot be deleted" {
    input = {product_id: 3}

    expect.to_throw {
      exception = "notfound"
    }
  }
}
