addon "thing_count" {
  input {
    int parcel_id?
  }
  stack {
    db.query thing {
      where = $db.thing.parcel_id == $input.parcel_id
      return = {type: "count"}
    }
  }
}
