// Logged in people only; messages too.
realtime_channel "crew" {
  active = true
  public_messaging = {active: true, auth: true}
  private_messaging = {active: false, auth: false}
  settings = {anonymous_clients: false, nested_channels: false, message_history: 0, auth_channel: false, presence: false}
}
