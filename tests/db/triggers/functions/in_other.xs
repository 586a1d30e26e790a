function "in_other" {
  input {
  }
  stack {
    db.set_datasource {
      value = "other"
    }
    db.query seen as $rows
    db.query loop {
      return = {type: "count"}
    } as $loops
    function.run "in_live" as $live
  }
  response = {seen: $rows|map:$$.trigger, loops: $loops, live: $live}
}
