query "header" verb=POST {
  api_group = "raw"

  input {
    text value
  }

  stack {
    util.set_header {
      value = "X-Echo: " ~ $input.value
    }
  }
  response = {ok: true}
}
