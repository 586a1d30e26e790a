task "count users" {
  active = false
  stack {
    db.query "user" {
      return = {type: "count"}
    } as $n
    api.realtime_event {
      channel = "admin"
      event = "count"
      data = {users: $n}
    }
  }
  schedule = []

  test "tells of nobody" {
    expect.to_be_null ($response)
    expect.to_have_published ("admin") {
      event = "count"
      data = {users: 0}
      count = 1
    }
    expect.to_have_published ("adm*") {
      count = 1
    }
    expect.to_not_have_published ("admin") {
      event = "other"
    }
  }
}
