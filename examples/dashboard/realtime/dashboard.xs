// Anyone may watch the metrics; the newest 25 updates are kept.
realtime_channel "dashboard:*" {
  active = true
  public_messaging = {active: false, auth: false}
  private_messaging = {active: false, auth: false}
  settings = {anonymous_clients: true, nested_channels: false, message_history: 25, auth_channel: false, presence: false}
}
