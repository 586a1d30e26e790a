message entry {
  realtime_server = "harbor_master"
  channel = "log/{name}"
  deliver_to = "channel"
  input {
    text text
  }
  stack {
  }
  response = {text: $input.text}
}
