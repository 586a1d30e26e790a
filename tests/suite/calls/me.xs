query "me/{detail}" verb=GET {
  api_group = "main"
  auth = "user"
  input {
    text detail
    text stamped?
    int page?
  }
  stack {
    db.get "user" {
      field_value = $auth.id
    } as $me
    util.get_all_input as $all
  }
  response = {email: $me.email, detail: $input.detail, page: $input.page, stamped: $input.stamped, host: $env.$http_headers.Host}

  test "there is no user 0" {
    input = {detail: "x"}
    expect.to_throw
  }
}
