// A message {"event": "say", "data": {"content": "…"}} from a client: saved, then broadcast.
realtime_trigger "say" {
  channel = "room:*"
  event = "say"
  stack {
    function.run "send_chat_message" {
      input = {room_id: $input.room_id, content: $input.content}
    } as $message
  }
}
