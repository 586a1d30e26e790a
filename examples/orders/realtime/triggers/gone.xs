realtime_server_trigger gone {
  realtime_server = "shop"
  actions = {disconnect: true}

  stack {
    db.add visit {
      data = {what: "gone", user_id: $auth.id|to_int, channel: ""}
    }
  }
}
