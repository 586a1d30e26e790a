query "parcels/{id}" verb=PATCH {
  api_group = "plain"

  input {
    int id
    text? label?
    text? state?
  }

  stack {
    util.get_raw_input {
      encoding = "json"
    } as $raw

    db.patch parcel {
      field_name = "id"
      field_value = $input.id
      data = $input|pick:($raw|keys)|unset:"id"
    } as $parcel
  }

  response = $parcel
}
