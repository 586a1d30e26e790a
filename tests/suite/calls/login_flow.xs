workflow_test "login" {
  stack {
    db.add "user" {
      data = {email: "kim@example.com", password: "Sesame-7"}
    } as $user
    api.call "login" verb=POST {
      api_group = "main"
      input = {email: "kim@example.com", password: "wrong"}
    } as $refused
    expect.to_equal ($refused.code) { value = "ERROR_CODE_ACCESS_DENIED" }
    expect.to_equal ($refused.message) { value = "Wrong password." }
    api.call "login" verb=POST {
      api_group = "main"
      input = {email: "kim@example.com", password: "Sesame-7"}
    } as $login
    expect.to_be_defined ($login.token)
    expect.to_not_be_defined ($login.code)

    api.call "me/{detail}" verb=GET {
      api_group = "main"
      input = {detail: "all"}
    } as $nobody
    expect.to_equal ($nobody.code) { value = "ERROR_CODE_UNAUTHORIZED" }
    var $headers { value = ["Authorization: Bearer " ~ $login.token, "host: here"] }
    api.call "me/{detail}" verb=GET {
      api_group = "main"
      headers = $headers
      input = {detail: "all"}
    } as $me
    expect.to_equal ($me) {
      value = {email: "kim@example.com", detail: "all", page: null, stamped: "pre", host: "here"}
    }
    test.set_time { value = "+2 hours" }
    api.call "me/{detail}" verb=GET {
      api_group = "main"
      headers = $headers
      input = {detail: "all"}
    } as $late
    expect.to_equal ($late.code) { value = "ERROR_CODE_UNAUTHORIZED" }
    task.call "count users" as $nothing
    expect.to_be_null ($nothing)
    expect.to_have_published ("admin") {
      data = {users: 1}
    }
    addon.call "cards" {
      input = {id: $user.id}
    } as $card
    expect.to_equal ($card) { value = {email: "kim@example.com"} }
    middleware.call "stamp" {
      input = {vars: {}, type: "post"}
    } as $stamp
    expect.to_equal ($stamp.stamped) { value = "post" }
    workflow_test.call "a mock for every caller" as $nothing
  }
}
