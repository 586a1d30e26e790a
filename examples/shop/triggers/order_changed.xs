// Every change of an order's status is kept.
table_trigger "order changed" {
  table = "order"
  actions = {insert: true, update: true}

  input {
    json new
    json old
    text action
    text datasource
  }

  stack {
    var $from {
      value = $input.old|get:"status":""
    }

    conditional {
      if ($from != $input.new.status) {
        db.add "order_log" {
          data = {order_id: $input.new.id, from: $from, to: $input.new.status}
        }
      }
    }
  }
}
