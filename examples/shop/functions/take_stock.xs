// Takes the pieces of some lines off the shelves and gives the lines with their prices.
function "take_stock" {
  input {
    object[] lines {
      schema {
        int product_id
        int quantity filters=min:1
      }
    }
  }

  stack {
    var $priced {
      value = []
    }

    foreach ($input.lines) {
      each as $line {
        db.get "product" {
          field_name = "id"
          field_value = $line.product_id
          lock = true
          mock = {
            "takes from the shelf": {id: 4, name: "Pen", price: 120, stock: 10, active: true}
            "the shelf is empty"  : {id: 4, name: "Pen", price: 120, stock: 1, active: true}
          }
        } as $product

        precondition ($product != null && $product.active) {
          error_type = "notfound"
          error = "There is no product " ~ $line.product_id ~ "."
        }

        precondition ($product.stock >= $line.quantity) {
          error_type = "inputerror"
          error = "Only " ~ $product.stock ~ " of " ~ $product.name ~ " left."
          payload = {product_id: $product.id, stock: $product.stock}
        }

        db.edit "product" {
          field_name = "id"
          field_value = $product.id
          data = {stock: $product.stock - $line.quantity}
          mock = {"takes from the shelf": {stock: 7}}
        } as $product_left

        array.push $priced {
          value = {
            product_id: $product.id
            quantity  : $line.quantity
            price     : $product.price
            left      : $product_left.stock
          }
        }
      }
    }
  }

  response = $priced

  test "takes from the shelf" {
    input = {lines: [{product_id: 4, quantity: 3}]}

    expect.to_equal ($response) {
      value = [{product_id: 4, quantity: 3, price: 120, left: 7}]
    }
  }

  test "the shelf is empty" {
    input = {lines: [{product_id: 4, quantity: 3}]}

    expect.to_throw {
      exception = "Only 1 of Pen left."
    }
  }
}
