// Every second; with the server's first breath, as it began long ago.
task "tick" {
  stack {
    db.add tick {
      data = {n: 1}
    }
  }

  schedule = [{starts_on: 2026-01-01 00:00:00+0000, freq: 1}]
  middleware = {pre: [{name: "silent"}], post: [{name: "count_ticks"}]}
}
