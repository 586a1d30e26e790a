// expect {}: [1,2,4,5]
function "while_break" {
  stack {
    var $i { value = 0 }
    var $out { value = [] }
    while (true) {
      each {
        var.update $i { value = $i + 1 }
        conditional {
          if ($i == 3) {
            continue
          }
          elseif ($i > 5) {
            break
          }
        }
        array.push $out { value = $i }
      }
    }
  }
  response = $out
}
