query "login" verb=POST {
  api_group = "piers"
  input {
    text name
    int ttl?=3600
  }
  stack {
    db.get "user" {
      field_name = "name"
      field_value = $input.name
    } as $user
    conditional {
      if ($user == null) {
        db.add "user" {
          data = {name: $input.name}
        } as $user
      }
    }
    security.create_auth_token {
      table = "user"
      id = $user.id
      extras = {name: $user.name}
      expiration = $input.ttl
    } as $token
  }
  response = {token: $token, id: $user.id}
}
