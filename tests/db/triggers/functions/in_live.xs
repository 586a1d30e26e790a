function "in_live" {
  input {
  }
  stack {
    db.query order {
      return = {type: "count"}
    } as $inherited
    db.set_datasource {
      value = "live"
    }
    db.query order {
      return = {type: "count"}
    } as $orders
  }
  response = [$inherited, $orders]
}
