addon "things" {
  input {
    int parcel_id?
  }
  stack {
    db.query thing {
      where = $db.thing.parcel_id == $input.parcel_id
      sort = {name: "desc"}
      return = {type: "list"}
    }
  }
}
