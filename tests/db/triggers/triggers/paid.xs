table_trigger "paid" {
  table = "order"
  actions = {update: true}
  where = $db.order.state == "paid" && $db.order.total > $input.old.total
  stack {
    db.add seen {
      data = {trigger: "paid", action: $input.action, after: $input.new.id}
    }
  }
}
