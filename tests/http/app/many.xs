// Rows read while they are sent: more than one piece of an answer.
query "many" verb=GET {
  api_group = "raw"
  response_type = "stream"

  input {
    text format?="jsonl"
  }

  // more statements than are recorded
  history = 10

  stack {
    for (10) {
      each as $i {
        redis.has {
          key = "nothing"
        } as $ignored
      }
    }

    db.direct_query {
      sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) INSERT OR IGNORE INTO tally(id) SELECT i FROM n"
      response_type = "list"
    } as $ignored

    db.query "tally" {
      return = {type: "stream", chunk_size: 7}
    } as $rows

    api.stream {
      value = $rows
      format = $input.format
    }

    api.stream {
      value = {id: "end"}
      format = $input.format
    }
  }
}
