query "shy" verb=GET {
  api_group = "shy"

  stack {
  }

  response = 1
}
