// A gate that says nothing lets nobody in.
channel_trigger mute_gate {
  realtime_server = "port_ops"
  channel = "mute"
  actions = {join: true}
  stack {
  }
}
