// Logs in by name; an unknown name becomes a new user. The token opens the API and the realtime connection.
query "login" verb=POST {
  api_group = "chat"

  input {
    text name filters=trim|min:1|max:40
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
      expiration = 86400
    } as $token
  }

  response = {authToken: $token, user: $user}
}
