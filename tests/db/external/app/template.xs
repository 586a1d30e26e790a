// Parameters one by one, and SQL written as a template.
query "template" verb=POST {
  api_group = "pg"

  input {
    text connection
    text name
  }

  stack {
    var $limit {
      value = 1
    }
    db.external.postgres.direct_query {
      connection_string = $input.connection
      sql = "SELECT ? || ? AS joined, ?::int AS n"
      response_type = "single"
      arg = $input.name
      arg = "!"
      arg = 7
    } as $one
    db.external.postgres.direct_query {
      connection_string = $input.connection
      sql = "SELECT '<{{ $input.name }}>' AS quoted, {{ $input.name }}::text AS bare {% if $var.limit %}LIMIT {{ $var.limit }}{% endif %}"
      parser = "template_engine"
    } as $two
    try_catch {
      try {
        db.external.postgres.direct_query {
          connection_string = $input.connection
          sql = "SELECT 1 FROM {{ $input.name }}"
          parser = "template_engine"
        } as $three
      }
      catch {
        var $three {
          value = $error.message
        }
      }
    }
    try_catch {
      try {
        db.external.postgres.direct_query {
          connection_string = $input.connection
          sql = "SELECT nothing"
        } as $four
      }
      catch {
        var $four {
          value = $error.result
        }
      }
    }
  }
  response = {one: $one, two: $two, three: $three, four: $four}
}
