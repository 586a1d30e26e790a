realtime_trigger "document_cursor" {
  channel = "document:*"               // Wildcard match
  event = "cursor_move"
  stack {
    // Broadcast cursor position to other viewers
    api.realtime_event {
      channel = $channel
      event = "cursor_update"
      data = {
        user_id: $auth.id,
        position: $input.position
      }
    }
  }
}
