channel "gates/{kind}" {
  realtime_server = "port_ops"
  access = {anonymous: true, presence: false}
  input {
    text kind
  }
}
