realtime_trigger "typing" {
  channel = "room:*"
  event = "typing"
  stack {
    api.realtime_event {
      channel = $channel
      event = "typing"
      data = {user_id: $auth.id}
    }
  }
}
