// Two entries are two rows of times.
task "two" {
  stack {
    db.add ran {
      data = {task: "two", node: $env.NODE, at: now}
    }
  }

  schedule = [{starts_on: 2026-01-01 00:00:00+0000, freq: 2}, {starts_on: 2026-01-01 00:00:01+0000, freq: 2}]
}
