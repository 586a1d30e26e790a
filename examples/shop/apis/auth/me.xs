query "me" verb=GET {
  api_group = "auth"
  auth = "user"

  input {
  }

  stack {
    db.get "user" {
      field_name = "id"
      field_value = $auth.id
      output = ["id", "name", "email", "role", "created_at"]
    } as $user

    precondition ($user != null) {
      error_type = "notfound"
      error = "The account is gone."
    }
  }

  response = $user
}
