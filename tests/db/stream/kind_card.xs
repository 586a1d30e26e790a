addon "kind_card" {
  input {
    int kind_id
  }
  stack {
    db.query "kind" {
      where = $db.kind.id == $input.kind_id
      return = {type: "single"}
    }
  }
}
