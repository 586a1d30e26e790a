// Everybody who watches hears of a new order once it is committed.
table_trigger "tell" {
  table = "order"
  actions = {insert: true, delete: true}
  where = $db.order.state != "secret"
  stack {
    api.realtime_event {
      channel = "orders"
      event = $input.action
      data = {total: $input.new.total, was: $input.old.total, source: $input.datasource}
    }
  }
}
