// expect {}: {"inner":"inner","outer":"no","inside":1,"users":["kept@x.io"]}
function "transactions" {
  input {
  }
  stack {
    db.transaction {
      stack {
        db.add user {
          data = {email: "kept@x.io"}
        } as $a
        try_catch {
          try {
            db.transaction {
              stack {
                db.add user {
                  data = {email: "inner@x.io"}
                } as $b
                throw {
                  name = "stop"
                  value = "inner"
                }
              }
            }
          }
          catch {
            var $inner {
              value = $error.message
            }
          }
        }
        db.query user {
          return = {type: "count"}
          lock = true
        } as $inside
      }
    }
    try_catch {
      try {
        db.transaction {
          stack {
            db.add user {
              data = {email: "lost@x.io"}
            } as $c
            precondition (false) {
              error_type = "inputerror"
              error = "no"
            }
          }
        }
      }
      catch {
        var $outer {
          value = $error.message
        }
      }
    }
    db.query user {
      output = ["email"]
    } as $users
  }
  response = {inner: $inner, outer: $outer, inside: $inside, users: $users.email}
}
