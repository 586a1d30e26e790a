// Makes an account and logs it in. The very first one runs the shop.
query "signup" verb=POST {
  api_group = "auth"

  input {
    text name filters=trim|min:1
    email email filters=trim|lower
    password password filters=min:8
  }

  stack {
    db.has "user" {
      field_name = "email"
      field_value = $input.email
    } as $taken

    precondition (!$taken) {
      error_type = "inputerror"
      error = "This address has an account already."
      payload = {param: "email"}
    }

    db.query "user" {
      return = {type: "exists"}
    } as $others

    db.add "user" {
      data = {
        name    : $input.name
        email   : $input.email
        password: $input.password
        role    : $others ? "customer" : "admin"
      }
    } as $user

    function.run "make_token" {
      input = {user_id: $user.id, role: $user.role}
    } as $token
  }

  response = {
    authToken: $token
    user     : {id: $user.id, name: $user.name, role: $user.role}
  }

  test "the first account runs the shop" {
    input = {name: " Ada ", email: "Ada@Example.com", password: "lovelace"}

    expect.to_be_defined ($response.authToken)

    expect.to_equal ($response.user) {
      value = {id: 1, name: "Ada", role: "admin"}
    }
  }

  test "a short password is refused" {
    input = {name: "Ada", email: "ada@example.com", password: "short"}

    expect.to_throw {
      exception = "inputerror"
    }
  }

  test "something that is no address is refused" {
    input = {name: "Ada", email: "ada", password: "lovelace"}

    expect.to_throw {
      exception = "inputerror"
    }
  }
}
