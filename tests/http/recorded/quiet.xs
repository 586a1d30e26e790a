task "quiet" {
  stack {
    db.add note {
      data = {text: "quiet"}
    }
  }

  schedule = [{starts_on: 2026-01-01 00:00:00+0000, freq: 1}]
  history = false
}
