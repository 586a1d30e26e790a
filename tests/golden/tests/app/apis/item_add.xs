query "items" verb=POST {
  api_group = "shop"
  input {
    text name filters=trim|min:1
    int price
  }
  stack {
    db.add "item" {
      data = {name: $input.name, price: $input.price}
    } as $item
    api.realtime_event {
      channel = "items"
      event = "added"
      data = {id: $item.id, name: $item.name, at: now}
    }
    debug.stop { value = $item }
  }
  response = null

  test "adds an item" {
    input = {name: " pen ", price: 2}
    clock = "2026-01-05 10:00:00"
    expect.to_equal ($response.id) { value = 1 }
    expect.to_equal ($response.name) { value = "pen" }
    expect.to_have_published ("items") {
      event = "added"
      data = {name: "pen", at: 1767607200000}
      count = 1
    }
    expect.to_not_have_published ("others")
  }
  test "is wrong about an event" {
    input = {name: "ink", price: 2}
    expect.to_have_published ("items") {
      event = "added"
      data = {name: "pencil"}
    }
  }
}
