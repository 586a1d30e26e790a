query "notes" verb=GET {
  api_group = "plain"

  stack {
    db.query note {
      sort = {id: "asc"}
      return = {type: "list"}
    } as $notes
  }

  response = $notes
}
