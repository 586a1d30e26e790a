// bench 3000 small 3: map, filter, reduce, some, every and find over lists
function "functional" {
  input {
    int n
  }
  stack {
    var $list { value = (0..999) }
    var $total { value = 0 }
    for ($input.n) {
      each as $round {
        var $squares { value = $list|map:($$ * $$ + $round) }
        var $even { value = $squares|filter:($$ % 2 == 0) }
        var $sum { value = $even|reduce:$result + $$:0 }
        var.update $total { value = ($total + $sum) % 1000003 }
        conditional {
          if ($even|some:$$ > 990000) {
            math.add $total { value = 1 }
          }
        }
        conditional {
          if ($even|every:$$ >= 0) {
            math.add $total { value = 2 }
          }
        }
        var $found { value = $even|find:$$ > 500000 }
        math.add $total { value = $found % 5 }
      }
    }
  }
  response = $total
}
