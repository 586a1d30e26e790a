query "parcels" verb=POST {
  api_group = "parcels"
  auth = "courier"

  input {
    dblink {
      table = "parcel"
    }
    text stamped?
  }

  stack {
    db.add parcel {
      data = {label: $input.label, courier_id: $auth.id, state: $input.state, meta: $input.meta}
    } as $parcel

    util.set_header {
      value = "HTTP/1.1 201 Created"
    }

    util.set_header {
      value = "Location: /api:parcels/parcels/" ~ $parcel.id
    }
  }

  response = {id: $parcel.id, label: $parcel.label, state: $parcel.state, stamped: $input.stamped}
}
