query "rooms/{room_id}/presence" verb=GET {
  api_group = "chat"
  auth = "user"

  input {
    int room_id
  }

  stack {
    db.query "presence" {
      where = $db.presence.room_id == $input.room_id
      sort = {id: "asc"}
    } as $rows
  }

  response = {count: $rows|count, users: $rows|map:$$.user_id|unique}
}
