query "login" verb=POST {
  api_group = "shop"

  input {
    text name filters=trim|min:1|max:40
    text role?="customer"
  }

  stack {
    db.get "user" {
      field_name = "name"
      field_value = $input.name
    } as $user

    conditional {
      if ($user == null) {
        db.add "user" {
          data = {name: $input.name, role: $input.role}
        } as $user
      }
    }

    security.create_auth_token {
      table = "user"
      id = $user.id
      extras = {name: $user.name, role: $user.role}
      expiration = 86400
    } as $token
  }

  response = {authToken: $token, user: $user}
}
