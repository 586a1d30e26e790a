message brief {
  realtime_server = "harbor_master"
  channel = "pilots"
  deliver_to = "channel"
  input {
    text text
  }
  stack {
  }
  response = {text: $input.text}
}
