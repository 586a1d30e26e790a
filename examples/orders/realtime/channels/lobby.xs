// Everybody, with or without a login.
channel "lobby" {
  realtime_server = "shop"
  access = {anonymous: true, presence: true}
  publish = {who: "anyone"}
  conversation = {enabled: true, limit: 3}
  rate_limit = {messages_per_minute: 5}
}
