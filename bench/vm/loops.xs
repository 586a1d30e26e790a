// bench 3000 small 20: nested loops over a counter
function "loops" {
  input {
    int n
  }
  stack {
    var $count { value = 0 }
    var $diagonal { value = 0 }
    for ($input.n) {
      each as $i {
        for ($input.n) {
          each as $j {
            var.update $count { value = $count + 1 }
            for (4) {
              each as $k {
                conditional {
                  if ($k == $j) {
                    var.update $diagonal { value = $diagonal + $i }
                  }
                }
              }
            }
          }
        }
      }
    }
  }
  response = {count: $count, diagonal: $diagonal}
}
