// Everything that is said here is kept for a day.
channel "ledger/{book}" {
  realtime_server = "port_ops"
  access = {anonymous: true, presence: false}
  conversation = {enabled: true, limit: 3, ttl: 86400}
  delivery = {guarantee: "at_least_once"}
  input {
    text book
  }
}
