function "add" {
  input {
    text body
  }
  stack {
    db.add "note" {
      data = {body: $input.body}
    } as $n
  }
  response = $n.id

  test "an empty table" {
    input = {body: "x"}
    expect.to_equal ($response) { value = 1 }
  }
  test "a copy of the live one" {
    datasource = "live"
    input = {body: "x"}
    expect.to_equal ($response) { value = 3 }
  }
}
