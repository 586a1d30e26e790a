query "fails" verb=GET {
  api_group = "parcels"

  input {
    text how?="throw"
  }

  stack {
    conditional {
      if ($input.how == "throw") {
        throw {
          name = "StockError"
          value = "only 2 left"
        }
      }
      elseif ($input.how == "stop") {
        debug.stop {
          value = {stopped: true}
        }
      }
      elseif ($input.how == "limit") {
        precondition (false) {
          error_type = "toomanyrequests"
          error = "Slow down"
          payload = {after: 5}
        }
      }
      else {
        var $n {
          value = "x" * 2
        }
      }
    }
  }

  response = 1
}
