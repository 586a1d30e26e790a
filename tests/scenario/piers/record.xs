// Says something on a recorded channel; every second time inside a transaction.
query "record" verb=POST {
  api_group = "piers"
  input {
    text content
    bool whole?
  }
  stack {
    conditional {
      if ($input.whole) {
        db.transaction {
          stack {
            db.add "user" {
              data = {name: $input.content}
            }
            realtime.publish {
              realtime_server = "port_ops"
              channel = "ledger/1"
              message = "entry"
              data = {content: $input.content}
            }
          }
        }
      }
      else {
        realtime.publish {
          realtime_server = "port_ops"
          channel = "ledger/1"
          message = "entry"
          data = {content: $input.content}
        }
      }
    }
  }
  response = {id: 0}
}
