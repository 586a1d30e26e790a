query "rooms/{room_id}/messages" verb=POST {
  api_group = "chat"
  auth = "user"

  input {
    int room_id
    text content filters=trim|min:1|max:1000
  }

  stack {
    function.run "send_chat_message" {
      input = {room_id: $input.room_id, content: $input.content}
    } as $message
  }

  response = $message
}
