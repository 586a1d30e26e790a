addon "category_card" {
  input {
    int category_id
  }

  stack {
    db.query "category" {
      where = $db.category.id == $input.category_id
      return = {type: "single"}
      output = ["name"]
    }
  }
}
