function "results" {
  input {
  }
  stack {
    db.query seen {
      output = ["trigger", "action", "before", "after", "source"]
    } as $live
    function.run "in_other" as $other
    db.query loop {
      return = {type: "count"}
    } as $loops
  }
  response = {live: $live, other: $other, loops: $loops}
}
