// The total of some lines in cents. Ten percent off from 100.00 on.
function "price_of" {
  input {
    object[] lines {
      schema {
        int price filters=min:0
        int quantity filters=min:1
      }
    }
  }

  stack {
    var $total {
      value = 0
    }

    foreach ($input.lines) {
      each as $line {
        math.add $total {
          value = $line.price * $line.quantity
        }
      }
    }

    var $discount {
      value = 0
    }

    conditional {
      if ($total >= 10000) {
        var.update $discount {
          value = ($total / 10)|floor
        }
      }
    }
  }

  response = {total: $total - $discount, discount: $discount}

  test "nothing costs nothing" {
    input = {lines: []}

    expect.to_equal ($response) {
      value = {total: 0, discount: 0}
    }
  }

  test "small orders pay the full price" {
    input = {lines: [{price: 250, quantity: 3}, {price: 9, quantity: 1}]}

    expect.to_equal ($response.total) {
      value = 759
    }

    expect.to_equal ($response.discount) {
      value = 0
    }
  }

  test "large orders get ten percent off" {
    input = {lines: [{price: 5000, quantity: 3}]}

    expect.to_equal ($response) {
      value = {total: 13500, discount: 1500}
    }

    expect.to_be_within ($response.total) {
      min = 1
      max = 15000
    }
  }

  test "a quantity of zero is refused" {
    input = {lines: [{price: 1, quantity: 0}]}

    expect.to_throw {
      exception = "less than the minimum"
    }
  }
}
