message say {
  realtime_server = "port_ops"
  channel = "deck"
  input {
    text text
  }
  stack {
  }
  response = {text: $input.text}
}
