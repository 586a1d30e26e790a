query "login" verb=POST {
  api_group = "docs"

  input {
    text name filters=trim|min:1|max:40
  }

  stack {
    db.add_or_edit "user" {
      field_name = "name"
      field_value = $input.name
      data = {name: $input.name}
    } as $user

    security.create_auth_token {
      table = "user"
      id = $user.id
      extras = {name: $user.name}
      expiration = 86400
    } as $token
  }

  response = {authToken: $token, user: $user}
}
