// Who is here, and whatever they say.
channel "deck" {
  realtime_server = "port_ops"
  access = {anonymous: true, presence: true}
  publish = {who: "anyone"}
}
