addon "last_thing" {
  input {
    int parcel_id?
    text suffix?
  }
  stack {
    db.query thing {
      where = $db.thing.parcel_id == $input.parcel_id
      eval = {label: $db.thing.name|concat:$input.suffix}
      sort = {name: "desc"}
      return = {type: "single"}
    }
  }
}
