// bench 5000000 small 200: primes by crossing out multiples in a list
function "sieve" {
  input {
    int n
  }
  stack {
    var $prime { value = [] }
    for ($input.n + 1) {
      each as $i {
        array.push $prime { value = true }
      }
    }
    var $p { value = 2 }
    while ($p * $p <= $input.n) {
      each {
        conditional {
          if ($prime[$p]) {
            var $m { value = $p * $p }
            while ($m <= $input.n) {
              each {
                var.update $prime[$m] { value = false }
                var.update $m { value = $m + $p }
              }
            }
          }
        }
        math.add $p { value = 1 }
      }
    }
    var $count { value = 0 }
    var $last { value = 0 }
    var $i { value = 2 }
    while ($i <= $input.n) {
      each {
        conditional {
          if ($prime|get:$i) {
            math.add $count { value = 1 }
            var.update $last { value = $i }
          }
        }
        math.add $i { value = 1 }
      }
    }
  }
  response = {count: $count, last: $last}
}
