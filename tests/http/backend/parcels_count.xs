query "parcels/count" verb=GET {
  api_group = "plain"

  stack {
    db.query parcel {
      return = {type: "count"}
    } as $n
  }

  response = $n
}
