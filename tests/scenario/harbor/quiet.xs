realtime_channel "quiet" {
  active = true
  public_messaging = {active: false, auth: false}
  private_messaging = {active: false, auth: false}
  settings = {anonymous_clients: true, nested_channels: false, message_history: 0, auth_channel: false, presence: false}
}
