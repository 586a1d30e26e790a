// expect {"n": 5}: {"sum":10,"list":[0,2,4],"last":4}
// expect {"n": 0}: {"sum":0,"list":[],"last":null}
// expect {"n": "x"}: error ERROR_CODE_INPUT_ERROR
function "loops" {
  input {
    int n
  }
  stack {
    var $sum { value = 0 }
    var $list { value = [] }
    var $last { value = null }
    for ($input.n) {
      each as $i {
        math.add $sum { value = $i }
        conditional {
          if ($i % 2 == 0) {
            array.push $list { value = $i }
          }
        }
        var.update $last { value = $i }
      }
    }
  }
  response = {sum: $sum, list: $list, last: $last}
}
