query "visits" verb=GET {
  api_group = "shop"

  input {
  }

  stack {
    db.query visit {
      sort = {visit.id: "asc"}
    } as $visits
  }

  response = $visits
}
