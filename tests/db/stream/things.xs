addon "things" {
  input {
    int kind_id
  }
  stack {
    db.query "thing" {
      where = $db.thing.kind_id == $input.kind_id
      return = {type: "stream"}
    }
  }
}
