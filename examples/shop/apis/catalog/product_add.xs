query "products" verb=POST {
  api_group = "catalog"
  auth = "user"
  middleware = {pre: [{name: "admin_only"}]}

  input {
    text name filters=trim|min:1
    int price filters=min:0
    int stock?=0 filters=min:0
    int category_id
  }

  stack {
    db.has "category" {
      field_name = "id"
      field_value = $input.category_id
    } as $known

    precondition ($known) {
      error_type = "inputerror"
      error = "There is no such category."
      payload = {param: "category_id"}
    }

    db.add "product" {
      data = {
        name       : $input.name
        price      : $input.price
        stock      : $input.stock
        category_id: $input.category_id
      }
    } as $product
  }

  response = $product

  test "a product gets its number and the time" {
    clock = "2026-03-01 09:00:00"
    input = {name: "Saw", price: 1990, stock: 4, category_id: 1}

    expect.to_equal ($response) {
      value = {
        id         : 1
        created_at : 1772355600000
        name       : "Saw"
        price      : 1990
        stock      : 4
        photo      : null
        active     : true
        category_id: 1
      }
    }
  }

  test "an unknown category is refused" {
    input = {name: "Saw", price: 1990, category_id: 9}

    expect.to_throw {
      exception = "no such category"
    }
  }
}
