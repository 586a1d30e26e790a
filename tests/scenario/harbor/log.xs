// Keeps everything a short day says.
realtime_channel "log:*" {
  active = true
  public_messaging = {active: true, auth: false}
  settings = {anonymous_clients: true, nested_channels: false, message_history: 1000, auth_channel: false, presence: false}
}
