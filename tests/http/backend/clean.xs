task "clean" {
  stack {
    db.add note {
      data = {text: "cleaned"}
    }
  }

  schedule = [{starts_on: 2026-01-01 00:00:00+0000, freq: 86400}]
}
