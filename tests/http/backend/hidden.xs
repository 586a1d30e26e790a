query "hidden" verb=GET {
  api_group = "closed"

  stack {
  }

  response = 1
}
