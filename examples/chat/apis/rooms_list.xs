// The rooms by name.
query "rooms" verb=GET {
  api_group = "chat"
  auth = "user"

  stack {
    db.query "room" {
      sort = {name: "asc"}
      return = {type: "list", paging: {page: 1, per_page: 100}}
    } as $rooms
  }

  response = $rooms.items
}
