channel "mute" {
  realtime_server = "port_ops"
  access = {anonymous: true, presence: false}
}
