query "lines" verb=POST {
  api_group = "raw"

  input {
    text format?
  }

  stack {
    stream.from_request {
      format = $input.format
    } as $rows
  }

  response = $rows
}
