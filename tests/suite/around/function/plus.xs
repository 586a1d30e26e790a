function "plus" {
  input {
    int n?
    int more?=1 filters=max:50
  }
  stack {
  }
  response = {sum: $input.n + $input.more}

  middleware = {pre: [{name: "stamp"}, {name: "refuse", active: false}], post: ["stamp"]}

  test "a test block runs the code alone" {
    input = {n: 1}
    expect.to_equal ($response) { value = {sum: 2} }
  }
}
