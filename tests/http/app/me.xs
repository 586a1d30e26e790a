query "me" verb=GET {
  api_group = "raw"
  auth = "user"

  stack {
  }
  response = {id: $auth.id}
}
