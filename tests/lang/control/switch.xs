// expect {"kind": "a"}: "first"
// expect {"kind": "b"}: "second+third"
// expect {"kind": "c"}: "third"
// expect {"kind": "z"}: "other"
function "switch_cases" {
  input {
    text kind
  }
  stack {
    var $out { value = "" }
    switch ($input.kind) {
      case ("a") {
        var.update $out { value = "first" }
      } break
      case ("b") {
        var.update $out { value = "second+" }
      }
      case ("c") {
        var.update $out { value = $out ~ "third" }
      } break
      default {
        var.update $out { value = "other" }
      }
    }
  }
  response = $out
}
