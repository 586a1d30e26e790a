query "cached" verb=GET {
  api_group = "plain"
  cache = {ttl: 60, input: true, auth: false, datasource: true, ip: false, headers: [], env: []}

  input {
    text word?=""
  }

  stack {
    db.add hit {
      data = {word: $input.word}
    } as $hit

    precondition ($input.word != "bad") {
      error_type = "badrequest"
    }

    util.set_header {
      value = "X-Hit: " ~ $hit.id
    }
  }

  response = {hit: $hit.id, word: $input.word}
}
