// expect {}: {"rows":[{"id":1,"tags":["a","b"],"meta":{"size":5,"deep":{"k":"v"},"list":[{"k":1},{"k":7}]},"done":false},{"id":3,"tags":[],"meta":null,"done":true}],"one":{"n":1},"updated":[],"bob":{"id":2,"name":"x'; DROP TABLE user; --"},"failures":["ERROR_FATAL"],"found":1}
function "direct" {
  input {
    text evil?="x'; DROP TABLE user; --"
  }
  stack {
    function.run fill as $n
    db.direct_query {
      sql = "SELECT id, tags, meta, done FROM parcel WHERE id IN (SELECT value FROM json_each(?)) AND label <> ?"
      arg = [1, 3]
      arg = $input.evil
    } as $rows
    db.direct_query {
      sql = "SELECT count(*) AS n FROM user WHERE name = ?"
      arg = "Ann"
      response_type = "single"
    } as $one
    db.direct_query {
      sql = "UPDATE user SET name = ? WHERE id = ?"
      arg = [$input.evil, 2]
    } as $updated
    db.get user {
      field_name = "name"
      field_value = $input.evil
      output = ["id", "name"]
    } as $bob
    var $failures {
      value = []
    }
    foreach (["DROP TABLE user", "PRAGMA journal_mode", "ATTACH 'x' AS y", "BEGIN", "SELECT 1; SELECT 2", "SELECT ?", "DELETE FROM _xs_schema", "SELEC 1", "SELECT * FROM x6_146"]) {
      each as $sql {
        try_catch {
          try {
            db.direct_query {
              sql = $sql
            } as $x
            var.update $failures {
              value = $failures|push:"ran"
            }
          }
          catch {
            var.update $failures {
              value = $failures|push:$error.code
            }
          }
        }
      }
    }
    db.query user {
      where = $db.user.name == $input.evil || $db.user.name in [$input.evil] || $db.user.name ilike $input.evil
      return = {type: "count"}
    } as $found
  }
  response = {rows: $rows, one: $one, updated: $updated, bob: $bob, failures: $failures|unique, found: $found}
}
