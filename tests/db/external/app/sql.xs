query "sql" verb=POST {
  api_group = "pg"

  input {
    text connection
    text sql
    text type?="list"
    json args?
  }

  stack {
    db.external.postgres.direct_query {
      connection_string = $input.connection
      sql = $input.sql
      response_type = $input.type
      arg = $input.args ?? []
    } as $rows
  }
  response = $rows
}
