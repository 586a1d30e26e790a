query "login" verb=POST {
  api_group = "main"
  input {
    email email
    text password
  }
  stack {
    db.get "user" {
      field_name = "email"
      field_value = $input.email
      output = ["id", "password"]
    } as $user
    precondition ($user != null) {
      error_type = "accessdenied"
      error = "No such user."
    }
    security.check_password {
      text_password = $input.password
      hash_password = $user.password
    } as $ok
    precondition ($ok) {
      error_type = "accessdenied"
      error = "Wrong password."
    }
    security.create_auth_token {
      table = "user"
      id = $user.id
      expiration = 3600
    } as $token
  }
  response = {token: $token}
}
