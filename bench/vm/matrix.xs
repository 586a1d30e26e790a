// bench 280 small 6: product of two square matrices, lists of lists
function "matrix" {
  input {
    int n
  }
  stack {
    var $a { value = [] }
    var $b { value = [] }
    for ($input.n) {
      each as $i {
        var $ra { value = [] }
        var $rb { value = [] }
        for ($input.n) {
          each as $j {
            array.push $ra { value = $i * 3 + $j }
            array.push $rb { value = $i - 2 * $j }
          }
        }
        array.push $a { value = $ra }
        array.push $b { value = $rb }
      }
    }
    var $c { value = [] }
    for ($input.n) {
      each as $i {
        var $row { value = [] }
        for ($input.n) {
          each as $j {
            var $sum { value = 0 }
            for ($input.n) {
              each as $k {
                var.update $sum { value = $sum + $a[$i][$k] * $b[$k][$j] }
              }
            }
            var.update $row { value = $row|push:$sum }
          }
        }
        var.update $c { value = $c|push:$row }
      }
    }
    var $trace { value = 0 }
    for ($input.n) {
      each as $i {
        math.add $trace { value = $c[$i][$i] }
      }
    }
  }
  response = {trace: $trace, corner: $c[0][$input.n - 1]}
}
