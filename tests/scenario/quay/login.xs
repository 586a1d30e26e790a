// The nodes have databases of their own: a token tells them who it is.
query "login" verb=POST {
  api_group = "quay"
  input {
    int id
    text name
  }
  stack {
    security.create_auth_token {
      table = "user"
      id = $input.id
      extras = {name: $input.name}
      expiration = 3600
    } as $token
  }
  response = {token: $token}
}
