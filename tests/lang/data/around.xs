// What $env tells outside a request, and SQL in a program without tables.
// expect {}: {"source":"live","method":null,"headers":null,"branch":"v1","n":42}
function "around" {
  input {
  }
  stack {
    db.transaction {
      stack {
        db.direct_query {
          sql = "SELECT 6 * ? AS n"
          response_type = "single"
          arg = 7
        } as $row
      }
    }
  }
  response = {source: $env.$datasource, method: $env.$request_method, headers: $env.$http_headers, branch: $env.$branch, n: $row.n}
}
