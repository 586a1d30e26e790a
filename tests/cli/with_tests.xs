function "double" {
  input {
    int n
  }
  stack {
  }
  response = $input.n * 2

  test "doubles" {
    input = {n: 2}
    expect.to_equal ($response) { value = 4 }
  }
  test "doubles none" {
    tags = ["quick"]
    input = {n: 0}
    expect.to_equal ($response) { value = 0 }
  }
}
