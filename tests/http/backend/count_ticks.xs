middleware "count_ticks" {
  input {
    json vars
    text type
  }

  stack {
    db.add tick {
      data = {n: $input.vars.status}
    }
  }
}
