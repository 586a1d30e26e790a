realtime_trigger "on_leave" {
  channel = "room:*"
  event = "leave"
  stack {
    db.query "presence" {
      where = $db.presence.user_id == $auth.id && $db.presence.room_id == $input.room_id
      return = {type: "single"}
    } as $row

    conditional {
      if ($row != null) {
        db.del "presence" {
          field_name = "id"
          field_value = $row.id
        }
      }
    }

    api.realtime_event {
      channel = $channel
      event = "user_left"
      data = {user_id: $auth.id}
    }
  }
}
