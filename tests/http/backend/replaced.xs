query "replaced" verb=GET {
  api_group = "plain"
  middleware = {pre: [{name: "swap"}]}

  input {
    int n
  }

  stack {
  }

  response = $input.n + 2
}
