// Anybody may listen to what the stack says; what clients say reaches logged in ones.
realtime_channel "staff" {
  active = true
  public_messaging = {active: true, auth: true}
  private_messaging = {active: true, auth: false}
  settings = {anonymous_clients: true, nested_channels: false, message_history: 25, auth_channel: true, presence: false}
}
