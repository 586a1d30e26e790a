query "products/{product_id}" verb=GET {
  api_group = "catalog"

  input {
    int product_id
  }

  stack {
    db.get "product" {
      field_name = "id"
      field_value = $input.product_id
      addon = [
        {
          name : "category_card"
          input: {category_id: $output.category_id}
          as   : "_category"
        }
      ]
    } as $product

    precondition ($product != null && $product.active) {
      error_type = "notfound"
      error = "There is no such product."
    }
  }

  response = $product

  test "a product that is not there" {
    input = {product_id: 5}

    expect.to_throw {
      exception = "notfound"
    }
  }
}
