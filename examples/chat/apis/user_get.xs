query "users/{user_id}" verb=GET {
  api_group = "chat"
  auth = "user"

  input {
    int user_id
  }

  stack {
    db.get "user" {
      field_name = "id"
      field_value = $input.user_id
    } as $user

    precondition ($user != null) {
      error_type = "notfound"
      error = "No such user"
    }
  }

  response = {id: $user.id, name: $user.name}
}
