query "visitors" verb=GET {
  api_group = "c"
  stack {
    db.query "visitor" {
      return = {type: "list"}
    } as $all
  }
  response = $all
}
