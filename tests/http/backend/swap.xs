middleware "swap" {
  input {
    json vars
    text type
  }

  stack {
  }

  response = {n: 40}
  response_strategy = "replace"
}
