// Not for the one who types, and not worth keeping in its own right.
message typing {
  realtime_server = "shop"
  channel = "lobby"
  deliver_to = "others"

  input {
    bool on?=true
  }

  stack {
  }

  response = {on: $input.on}
}
