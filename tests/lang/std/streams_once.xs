// expect {"jsonl": "1\n2\n3"}: {"sum":6,"error":"Stream already consumed.","doubled":[2,4,6],"count":3}
// expect {"jsonl": " "}: {"sum":0,"error":"Stream already consumed.","doubled":[],"count":0}
function "streams_once" {
  input {
    text jsonl
  }
  stack {
    stream.from_jsonl {
      value = $input.jsonl
    } as $rows
    stream.from_jsonl {
      value = $input.jsonl
    } as $mapped
    stream.from_jsonl {
      value = $input.jsonl
    } as $counted
    var $sum {
      value = 0
    }
    var $error_text {
      value = null
    }
    foreach ($rows) {
      each as $row {
        math.add $sum {
          value = $row
        }
      }
    }
    try_catch {
      try {
        foreach ($rows) {
          each as $row {
            math.add $sum {
              value = $row
            }
          }
        }
      }
      catch {
        var.update $error_text {
          value = $error.message
        }
      }
    }
    var $doubled {
      value = $mapped|map:$$ * 2
    }
    var $count {
      value = $counted|count
    }
  }
  response = {sum: $sum, error: $error_text, doubled: $doubled, count: $count}
}
