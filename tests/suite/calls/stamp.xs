middleware "stamp" {
  input {
    json vars
    text type
  }
  stack {
  }
  response = {stamped: $input.type}
}
