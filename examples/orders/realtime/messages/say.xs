message say {
  realtime_server = "shop"
  channel = "lobby"

  input {
    text text filters=trim|min:1|max:200
  }

  stack {
    precondition (($input.text|to_lower) != "spam") {
      error_type = "inputerror"
      error = "No spam, please"
    }
  }

  response = ($input.text == "/drop") ? null : {text: $input.text}
}
