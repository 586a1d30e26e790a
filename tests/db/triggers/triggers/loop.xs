table_trigger "again" {
  table = "loop"
  actions = {insert: true}
  stack {
    db.add loop {
      data = {n: $input.new.n + 1}
    }
    precondition ($input.new.n < 3) {
      error = "far enough"
    }
  }
}
