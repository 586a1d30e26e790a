query "rooms/{room_id}/events" verb=POST {
  api_group = "chat"
  auth = "user"

  input {
    int room_id
    text event filters=trim|min:1|max:40
    json data
  }

  stack {
    function.run "send_to_room" {
      input = {room_id: $input.room_id, event: $input.event, data: $input.data}
    } as $sent
  }

  response = {sent: true}
}
