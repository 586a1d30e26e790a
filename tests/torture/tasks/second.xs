task "second" {
  stack {
    db.add ran {
      data = {task: "second", node: $env.NODE, at: now}
    }
  }

  schedule = [{starts_on: 2026-01-01 00:00:00+0000, freq: 1}]
}
