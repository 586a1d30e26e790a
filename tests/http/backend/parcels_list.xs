query "parcels" verb=GET {
  api_group = "plain"

  input {
    int page?=1 filters=min:1
    int per_page?=20 filters=min:1|max:100
  }

  stack {
    db.query parcel {
      sort = {id: "asc"}
      return = {type: "list", paging: {page: $input.page, per_page: $input.per_page, totals: true}}
    } as $parcels
  }

  response = $parcels
}
