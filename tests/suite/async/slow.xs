function "slow" {
  input {
    int n
  }
  stack {
    util.sleep { value = 2 }
  }
  response = $input.n + 1
}
