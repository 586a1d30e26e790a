// bench 1500000 small 30: lists as a stack and as queues, by statements and by filters
function "queue" {
  input {
    int n
  }
  stack {
    var $stack { value = [] }
    var $sum { value = 0 }
    for ($input.n) {
      each as $i {
        array.push $stack { value = $i }
        conditional {
          if ($i % 3 == 2) {
            array.pop $stack as $top
            math.add $sum { value = $top }
          }
        }
      }
    }
    var $queue { value = [0] }
    var $made { value = 1 }
    var $seen { value = 0 }
    while (($queue|count) > 0) {
      each {
        var $head { value = $queue|first }
        var.update $queue { value = $queue|slice:1 }
        math.add $seen { value = $head % 7 }
        conditional {
          if ($made < $input.n) {
            var.update $queue { value = $queue|push:$made }
            var.update $queue { value = $queue|push:($made + 1) }
            math.add $made { value = 2 }
          }
        }
      }
    }
    var $line { value = $stack }
    var $order { value = 0 }
    while (!($line|is_empty)) {
      each {
        array.shift $line as $x
        var.update $order { value = ($order * 3 + $x) % 1000003 }
      }
    }
  }
  response = {sum: $sum, made: $made, seen: $seen, order: $order, left: $stack|count}
}
