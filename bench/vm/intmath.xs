// bench 500000 small 300: Collatz steps, greatest common divisors and a linear congruential generator
function "intmath" {
  input {
    int n
  }
  stack {
    var $longest { value = 0 }
    var $start { value = 0 }
    var $i { value = 1 }
    while ($i < $input.n / 4) {
      each {
        var $x { value = $i }
        var $steps { value = 0 }
        while ($x != 1) {
          each {
            conditional {
              if ($x % 2 == 0) {
                var.update $x { value = ($x / 2)|to_int }
              }
              else {
                var.update $x { value = 3 * $x + 1 }
              }
            }
            math.add $steps { value = 1 }
          }
        }
        conditional {
          if ($steps > $longest) {
            var.update $longest { value = $steps }
            var.update $start { value = $i }
          }
        }
        math.add $i { value = 1 }
      }
    }
    var $seed { value = 42 }
    var $divisors { value = 0 }
    for ($input.n) {
      each as $round {
        var.update $seed { value = ($seed * 1103515245 + 12345) % 2147483648 }
        var $a { value = ($seed % 1000) + 1 }
        var $b { value = ($round % 997) + 1 }
        while ($b > 0) {
          each {
            var $rest { value = $a % $b }
            var.update $a { value = $b }
            var.update $b { value = $rest }
          }
        }
        math.add $divisors { value = $a }
      }
    }
  }
  response = {longest: $longest, start: $start, seed: $seed, divisors: $divisors}
}
