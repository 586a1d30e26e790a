query "auth/login" verb=POST {
  api_group = "plain"

  input {
    email email filters=trim|lower
    text password
  }

  stack {
    db.get courier {
      field_name = "email"
      field_value = $input.email
      output = ["id", "email", "password", "role"]
    } as $courier

    precondition ($courier != null) {
      error_type = "accessdenied"
      error = "Invalid Credentials."
    }

    security.check_password {
      text_password = $input.password
      hash_password = $courier.password
    } as $ok

    precondition ($ok) {
      error_type = "accessdenied"
      error = "Invalid Credentials."
    }

    security.create_auth_token {
      table = "courier"
      extras = {role: $courier.role}
      id = $courier.id
    } as $authToken
  }

  response = {authToken: $authToken}
}
