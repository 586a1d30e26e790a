addon "has_things" {
  input {
    int parcel_id?
  }
  stack {
    db.query thing {
      where = $input.parcel_id == $db.thing.parcel_id
      return = {type: "exists"}
    }
  }
}
