// A login of one day; the role travels with it.
function "make_token" {
  input {
    int user_id
    text role
  }

  stack {
    security.create_auth_token {
      table = "user"
      id = $input.user_id
      extras = {role: $input.role}
      expiration = 86400
    } as $token
  }

  response = $token
}
