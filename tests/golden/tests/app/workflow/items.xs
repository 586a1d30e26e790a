workflow_test "items" {
  tags = ["slow", "db"]
  stack {
    db.query "item" {
      return = {type: "count"}
    } as $before
    expect.to_equal ($before) { value = 0 }
    db.add "item" {
      data = {name: "a", price: 1}
    } as $item
    expect.to_be_true ($item.id == 1)
    function.run "cart/total" {
      input = {prices: [$item.price, 2], coupon: "half"}
    } as $total
    expect.to_equal ($total.sum) { value = 1.5 }
    expect.to_throw {
      exception = "Missing var entry"
      stack {
        var $_a { value = $item.id }
      }
    }
    expect.to_throw {
      exception = "StockError"
      stack {
        throw {
          name = "StockError"
          value = "only 2 left"
        }
      }
    }
    var $start { value = now }
    expect.to_be_in_the_past ($start)
    test.set_time { value = "+1 day" }
    expect.to_equal (now - $start) { value = 86400000 }
    expect.to_be_in_the_future ("tomorrow")
    try_catch {
      try {
        expect.to_match ($item.name) { value = "/^A$/i" }
        expect.to_start_with ($item.name) { value = "b" }
      }
      catch {
        debug.log { value = "an expectation cannot be caught" }
      }
    }
  }
}
