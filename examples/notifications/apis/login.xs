query "login" verb=POST {
  api_group = "inbox"

  input {
    text name filters=trim|min:1|max:40
    enum role?="member" {
      values = ["member", "admin"]
    }
  }

  stack {
    db.add_or_edit "user" {
      field_name = "name"
      field_value = $input.name
      data = {name: $input.name, role: $input.role}
    } as $user

    security.create_auth_token {
      table = "user"
      id = $user.id
      extras = {role: $user.role}
      expiration = 86400
    } as $token
  }

  response = {authToken: $token, user: $user}
}
