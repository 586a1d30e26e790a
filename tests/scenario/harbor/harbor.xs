realtime_channel "harbor" {
  active = true
  public_messaging = {active: true, auth: false}
  private_messaging = {active: true, auth: true}
  settings = {anonymous_clients: true, nested_channels: true, message_history: 25, auth_channel: false, presence: true}
}
