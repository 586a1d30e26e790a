query "parcels/{id}" verb=DELETE {
  api_group = "plain"

  input {
    int id
  }

  stack {
    db.del parcel {
      field_name = "id"
      field_value = $input.id
    }

    util.set_header {
      value = "HTTP/1.1 204 No Content"
    }
  }

  response = {never: "sent"}
}
