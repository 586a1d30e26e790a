realtime_channel "gate:*" {
  active = true
  public_messaging = {active: true, auth: false}
  settings = {anonymous_clients: true, nested_channels: false, message_history: 25, auth_channel: false, presence: false}
}
