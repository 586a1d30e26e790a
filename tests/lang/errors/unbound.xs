// expect {"set": true}: 1
// expect {"set": false}: error ERROR_FATAL
function "maybe_set" {
  input {
    bool set
  }
  stack {
    conditional {
      if ($input.set) {
        var $x { value = 1 }
      }
    }
  }
  response = $x
}
