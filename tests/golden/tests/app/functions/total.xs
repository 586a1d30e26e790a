// The price of a cart. Tests of values, mocks and failures.
function "cart/total" {
  input {
    int[] prices
    text? coupon?
  }
  stack {
    var $sum { value = 0 }
    foreach ($input.prices) {
      each as $p {
        precondition ($p >= 0) {
          error_type = "inputerror"
          error = "A price is negative."
        }
        math.add $sum { value = $p }
      }
    }
    function.run "rate" {
      input = {coupon: $input.coupon}
      mock = {
        "uses the mocked rate": 50
        !"unused": 1
      }
    } as $percent
    var $label {
      value = "real"
      mock = {"uses the mocked rate": "mocked"}
    }
    debug.log { value = $sum }
    conditional {
      if ($percent > 0) {
        var.update $sum { value = $sum - ($sum * $percent / 100) }
      }
    }
  }
  response = {sum: $sum, label: $label, items: $input.prices|count}

  test "prices an empty cart" {
    input = {prices: []}
    expect.to_equal ($response.sum) { value = 0 }
    expect.to_equal ($response) { value = {items: 0, label: "real", sum: 0.0} }
  }
  test "adds prices" {
    input = {prices: [3, 4]}
    expect.to_equal ($response.sum) { value = 7 }
    expect.to_be_defined ($response.label)
    expect.to_not_be_defined ($response.nothing)
    expect.to_be_null ($response.nothing)
    expect.to_be_within ($response.sum) {
      min = 7
      max = 8
    }
  }
  test "uses the mocked rate" {
    input = {prices: [10]}
    expect.to_equal ($response.sum) { value = 5 }
    expect.to_equal ($response.label) { value = "mocked" }
  }
  test "refuses a negative price" {
    input = {prices: [1, -1]}
    expect.to_throw { exception = "inputerror" }
  }
  test "refuses a missing list" {
    input = {}
    expect.to_throw { exception = "Missing param: prices" }
  }
  test "is wrong about the sum" {
    input = {prices: [1, 2]}
    expect.to_equal ($response.sum) { value = 4 }
  }
  test "is wrong about an object" {
    input = {prices: [1, 2]}
    expect.to_equal ($response) { value = {sum: 3, label: "other", items: 2} }
  }
  test "expects an error that does not come" {
    input = {prices: [1]}
    expect.to_throw { exception = "inputerror" }
  }
  test "ends in an error" {
    input = {prices: [-5]}
    expect.to_equal ($response.sum) { value = 1 }
  }
}
