// expect {"set": 1}: 3
// expect {"set": 0}: error ERROR_FATAL
function "math_unset" {
  input {
    int set?
  }
  stack {
    conditional {
      if ($input.set) {
        var $n {
          value = $input.set
        }
      }
    }
    math.add $n {
      value = 2
    }
  }
  response = $n
}
