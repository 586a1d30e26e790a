channel_trigger order_left {
  realtime_server = "shop"
  channel = "orders/{order_id}"
  actions = {leave: true}

  stack {
    db.add visit {
      data = {what: "left", user_id: $auth.id|to_int, channel: $input.channel}
    }
  }
}
