query "notifications/{notification_id}/read" verb=POST {
  api_group = "inbox"
  auth = "user"

  input {
    int notification_id
  }

  stack {
    db.query "notification" {
      where = $db.notification.id == $input.notification_id && $db.notification.user_id == $auth.id
      return = {type: "exists"}
    } as $mine

    precondition ($mine) {
      error_type = "notfound"
      error = "No such notification"
    }

    db.edit "notification" {
      field_name = "id"
      field_value = $input.notification_id
      data = {read: true}
    } as $notification
  }

  response = $notification
}
