query "parcels/{id}" verb=GET {
  api_group = "parcels"
  middleware = {pre: []}

  input {
    int id
  }

  stack {
    db.get parcel {
      field_name = "id"
      field_value = $input.id
    } as $parcel

    precondition ($parcel != null) {
      error_type = "notfound"
      error = "No parcel has that label."
    }
  }

  response = $parcel
}
