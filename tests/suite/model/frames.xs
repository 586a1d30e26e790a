// What a frame reads and what it does not find.
function "frames" {
  input {
    text of
    json any?
  }
  stack {
    var $order {
      value = {lines: 1}
    }
    conditional {
      if ($input.of == "input") {
        var $found {
          value = $input.pin
        }
      }
      elseif ($input.of == "member") {
        var $found {
          value = $order.total
        }
      }
      elseif ($input.of == "json") {
        var $found {
          value = $input.any
        }
      }
      elseif ($input.of == "database") {
        db.transaction {
          stack {
            db.direct_query {
              sql = "SELECT 6 * ? AS n"
              response_type = "single"
              arg = 7
            } as $found
          }
        }
      }
    }
  }
  response = $found

  test "an input that is not declared" {
    input = {of: "input"}
    expect.to_throw { exception = "Unable to locate input: pin" }
  }

  test "a member that is not there" {
    input = {of: "member"}
    expect.to_throw { exception = "Unable to locate var: order.total" }
  }

  test "a variable that was not set" {
    input = {of: "nothing"}
    expect.to_throw { exception = "Missing var entry: found" }
  }

  test "text for a json input is text" {
    input = {of: "json", any: "[1]"}
    expect.to_equal ($response) { value = "[1]" }
  }

  test "transactions and SQL need no table" {
    input = {of: "database"}
    expect.to_equal ($response) { value = {n: 42} }
  }
}
