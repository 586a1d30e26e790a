query "login" verb=POST {
  api_group = "auth"

  input {
    email email filters=trim|lower
    text password
  }

  stack {
    db.get "user" {
      field_name = "email"
      field_value = $input.email
      output = ["id", "name", "role", "password"]
    } as $user

    precondition ($user != null) {
      error_type = "accessdenied"
      error = "Wrong address or password."
    }

    security.check_password {
      text_password = $input.password
      hash_password = $user.password
    } as $right

    precondition ($right) {
      error_type = "accessdenied"
      error = "Wrong address or password."
    }

    function.run "make_token" {
      input = {user_id: $user.id, role: $user.role}
    } as $token
  }

  response = {authToken: $token, user: $user|unset:"password"}

  test "an unknown address is refused" {
    input = {email: "nobody@example.com", password: "whatever"}

    expect.to_throw {
      exception = "Wrong address or password."
    }
  }
}
