// expect {"mode": "ok"}: {"steps":["try","finally"],"caught":null}
// expect {"mode": "throw"}: {"steps":["try","catch","finally"],"caught":{"name":"StockError","message":"only 2 left"}}
// expect {"mode": "precondition"}: {"steps":["try","catch","finally"],"caught":{"name":"ERROR_CODE_ACCESS_DENIED","message":"no"}}
function "try_it" {
  input {
    text mode
  }
  stack {
    var $steps { value = [] }
    var $caught { value = null }
    try_catch {
      try {
        array.push $steps { value = "try" }
        conditional {
          if ($input.mode == "throw") {
            throw {
              name = "StockError"
              value = "only 2 left"
            }
          }
        }
        precondition ($input.mode != "precondition") {
          error_type = "accessdenied"
          error = "no"
        }
      }
      catch {
        array.push $steps { value = "catch" }
        var.update $caught { value = {name: $error.name, message: $error.message} }
      }
      finally {
        array.push $steps { value = "finally" }
      }
    }
  }
  response = {steps: $steps, caught: $caught}
}
