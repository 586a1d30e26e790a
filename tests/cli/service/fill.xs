function "fill" {
  stack {
    db.add "visitor" {
      data = {name: $env.WHO}
    }
  }
  response = null
}
