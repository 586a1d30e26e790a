query "login" verb=POST {
  api_group = "raw"

  stack {
    security.create_auth_token {
      table = "user"
      id = 7
      extras = {}
      expiration = 600
    } as $token
  }
  response = {authToken: $token}
}
