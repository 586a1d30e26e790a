message brief {
  realtime_server = "shop"
  channel = "staff"

  input {
    text text
    text internal?
  }

  stack {
  }

  response = {text: $input.text, internal: $input.internal}
}
