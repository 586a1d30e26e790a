function "swapped" {
  input {
    int n
  }
  stack {
  }
  response = $input.n + 2

  middleware = {pre: [{name: "swap"}], post: [{name: "swap"}]}
}
