query "body" verb=POST {
  api_group = "raw"

  input {
    bool exact?
  }

  stack {
    conditional {
      if ($input.exact) {
        util.get_raw_input {
          encoding = ""
        } as $body
      }
      else {
        util.get_raw_input as $body
      }
    }
  }
  response = {body: $body}
}
