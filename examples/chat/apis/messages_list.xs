query "rooms/{room_id}/messages" verb=GET {
  api_group = "chat"
  auth = "user"

  input {
    int room_id
    int page?=1 filters=min:1
  }

  stack {
    db.query "message" {
      where = $db.message.room_id == $input.room_id
      sort = {id: "desc"}
      return = {type: "list", paging: {page: $input.page, per_page: 50, totals: true}}
    } as $messages
  }

  response = $messages
}
