// expect {"n": 1}: {"kind":"one"}
// expect {"n": 2}: {"kind":"many","half":1}
function "early_return" {
  input {
    int n
  }
  stack {
    conditional {
      if ($input.n == 1) {
        return {
          value = {kind: "one"}
        }
      }
    }
    foreach ([1, 2, 3]) {
      each as $i {
        conditional {
          if ($i == $input.n) {
            return {
              value = {kind: "many", half: $i / 2}
            }
          }
        }
      }
    }
  }
  response = null
}
