// Changes what the body names and nothing else.
query "products/{product_id}" verb=PATCH {
  api_group = "catalog"
  auth = "user"
  middleware = {pre: [{name: "admin_only"}]}

  input {
    int product_id
    text? name? filters=trim|min:1
    int? price? filters=min:0
    int? stock? filters=min:0
    bool? active?
  }

  stack {
    util.get_raw_input as $raw

    var $given {
      value = {
        name  : $input.name
        price : $input.price
        stock : $input.stock
        active: $input.active
      }
    }

    db.patch "product" {
      field_name = "id"
      field_value = $input.product_id
      data = $given|pick:($raw|keys)|filter_null
    } as $product

    conditional {
      if ($raw|has:"stock") {
        api.realtime_event {
          channel = "products"
          event = "stock"
          data = {id: $product.id, stock: $product.stock}
          auth_table = ""
          auth_id = null
        }
      }
    }
  }

  response = $product
}
