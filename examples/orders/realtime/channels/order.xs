// One channel per order. Nothing that is said here is lost: clients acknowledge, and get the rest when they come back.
channel "orders/{order_id}" {
  realtime_server = "shop"
  access = {presence: true}
  publish = {who: "authenticated", direct: true}
  conversation = {enabled: true, limit: 50}
  delivery = {guarantee: "at_least_once"}
  rate_limit = {messages_per_minute: 60}

  input {
    int order_id filters=min:1
  }
}
