task "restless" {
  stack {
    db.add note {
      data = {text: "restless"}
    }

    precondition (false) {
      error_type = "accessdenied"
      error = "Not today"
    }
  }

  schedule = [{starts_on: 2026-01-01 00:00:00+0000, freq: 1}]
}
