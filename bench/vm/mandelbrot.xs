// bench 600 small 12: decimal arithmetic, points of the Mandelbrot set
function "mandelbrot" {
  input {
    int n
  }
  stack {
    var $inside { value = 0 }
    var $work { value = 0 }
    for ($input.n) {
      each as $row {
        var $ci { value = 2.0 * $row / $input.n - 1.0 }
        for ($input.n) {
          each as $col {
            var $cr { value = 3.0 * $col / $input.n - 2.0 }
            var $zr { value = 0.0 }
            var $zi { value = 0.0 }
            var $steps { value = 0 }
            while ($steps < 50 && $zr * $zr + $zi * $zi <= 4.0) {
              each {
                var $t { value = $zr * $zr - $zi * $zi + $cr }
                var.update $zi { value = 2.0 * $zr * $zi + $ci }
                var.update $zr { value = $t }
                var.update $steps { value = $steps + 1 }
              }
            }
            var.update $work { value = $work + $steps }
            conditional {
              if ($steps == 50) {
                var.update $inside { value = $inside + 1 }
              }
            }
          }
        }
      }
    }
  }
  response = {inside: $inside, work: $work}
}
