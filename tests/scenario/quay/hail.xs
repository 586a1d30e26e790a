message hail {
  realtime_server = "harbor_master"
  channel = "berths/{berth_id}"
  deliver_to = "others"
  input {
    text text
  }
  stack {
  }
  response = {text: $input.text}
}
