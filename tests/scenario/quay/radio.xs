// Nothing is kept; three messages a minute from everybody, wherever they are.
channel "radio" {
  realtime_server = "harbor_master"
  access = {anonymous: false, presence: true}
  publish = {who: "authenticated"}
  rate_limit = {messages_per_minute: 3}
}
