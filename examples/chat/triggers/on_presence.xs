realtime_trigger "on_presence" {
  channel = "room:*"
  event = "join"
  stack {
    // $input contains event data
    // $channel contains matched channel
    db.add "presence" {
      data = {
        user_id: $auth.id,
        room_id: $input.room_id,
        joined_at: now
      }
    }

    // Notify room members
    api.realtime_event {
      channel = $channel
      event = "user_joined"
      data = { user_id: $auth.id }
    }
  }
}
