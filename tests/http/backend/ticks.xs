query "ticks" verb=GET {
  api_group = "plain"

  stack {
    db.query tick {
      sort = {id: "asc"}
      return = {type: "list", paging: {page: 1, per_page: 2}}
    } as $ticks
  }

  response = $ticks.items
}
