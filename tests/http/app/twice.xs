query "twice" verb=POST {
  api_group = "raw"

  input {
  }

  stack {
    stream.from_request {
      format = "jsonl"
    } as $rows
    foreach ($rows) {
      each as $row {
        break
      }
    }
    api.stream {
      value = $rows
    }
  }
  response = null
}
