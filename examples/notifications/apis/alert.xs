query "alerts" verb=POST {
  api_group = "inbox"
  auth = "user"

  input {
    text text filters=trim|min:1|max:500
  }

  stack {
    function.run "notify_admins" {
      input = {alert_data: {text: $input.text, by: $auth.id}}
    } as $reached
  }

  response = {admins: $reached}
}
