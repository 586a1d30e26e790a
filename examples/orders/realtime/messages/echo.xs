message echo {
  realtime_server = "shop"
  channel = "lobby"
  deliver_to = "sender"

  input {
    json value?
  }

  stack {
  }

  response = {value: $input.value}
}
