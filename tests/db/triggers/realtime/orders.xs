realtime_channel "orders" {
  active = true
  settings = {anonymous_clients: true, nested_channels: false, message_history: 0, auth_channel: false, presence: false}
}
