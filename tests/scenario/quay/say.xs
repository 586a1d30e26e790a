message say {
  realtime_server = "harbor_master"
  channel = "radio"
  deliver_to = "channel"
  input {
    text text
  }
  stack {
  }
  response = {text: $input.text}
}
