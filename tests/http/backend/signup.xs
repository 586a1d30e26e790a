query "auth/signup" verb=POST {
  api_group = "plain"

  input {
    email email filters=trim|lower
    password password
  }

  stack {
    db.get courier {
      field_name = "email"
      field_value = $input.email
    } as $known

    precondition ($known == null) {
      error_type = "accessdenied"
      error = "This account is already in use."
    }

    db.add courier {
      data = {email: $input.email, password: $input.password}
    } as $courier

    security.create_auth_token {
      table = "courier"
      extras = {role: $courier.role}
      expiration = 86400
      id = $courier.id
    } as $authToken
  }

  response = {authToken: $authToken}
}
