// Whoever comes to the radio is announced to those who are there before.
channel_trigger arrival {
  realtime_server = "harbor_master"
  channel = "radio"
  actions = {join: true}
  stack {
    realtime.publish {
      realtime_server = "harbor_master"
      channel = "radio"
      message = "arrival"
      data = {name: $auth.name}
    }
  }
  response = true
}
