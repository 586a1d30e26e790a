query "users/{user_id}/notifications" verb=POST {
  api_group = "inbox"
  auth = "user"

  input {
    int user_id
    text title filters=trim|min:1|max:200
    text body filters=trim|max:2000
    json? data?
  }

  stack {
    db.has "user" {
      field_name = "id"
      field_value = $input.user_id
    } as $known

    precondition ($known) {
      error_type = "notfound"
      error = "No such user"
    }

    function.run "notify_user" {
      input = {
        user_id: $input.user_id,
        type: "message",
        title: $input.title,
        body: $input.body,
        data: $input.data
      }
    } as $notification
  }

  response = $notification
}
