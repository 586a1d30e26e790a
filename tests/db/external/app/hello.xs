query "hello" verb=GET {
  api_group = "pg"

  input {
  }

  stack {
  }
  response = "hello"
}
