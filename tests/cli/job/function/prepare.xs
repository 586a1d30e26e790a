function "prepare" {
  stack {
    db.add "log" {
      data = {text: "prepared"}
    }
  }
  response = null
}
