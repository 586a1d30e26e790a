message note {
  realtime_server = "harbor_master"
  channel = "berths/{berth_id}"
  deliver_to = "channel"
  input {
    text text
  }
  stack {
  }
  response = {text: $input.text}
}
