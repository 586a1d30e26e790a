addon "cards" {
  input {
    int id
  }
  stack {
    db.query "user" {
      where = $db.user.id == $input.id
      return = {type: "single"}
      output = ["email"]
    }
  }
}
