query "rows" verb=GET {
  api_group = "raw"
  response_type = "stream"

  input {
    text format?="jsonl"
    text name?=""
  }

  stack {
    util.set_header {
      value = "X-Before: yes"
    }

    api.stream {
      value = [{id: 1, name: "a,b"}, {id: 2, name: "two\nlines"}]
      format = $input.format
      filename = $input.name
    }

    api.stream {
      value = {id: 3, name: null}
      format = $input.format
    }

    conditional {
      if ($input.name == "fails") {
        throw {
          name = "late"
          value = "too late"
        }
      }
    }
  }

  response = {never: "sent"}
}
