query "hello" verb=GET {
  api_group = "raw"

  stack {
  }
  response = {hello: "world"}
}
