// bench 150000 small 20: decimal members of objects in a list, planets attracting each other
function "nbody" {
  input {
    int n
  }
  stack {
    var $bodies {
      value = [
        {x: 0.0, y: 0.0, vx: 0.0, vy: 0.0, m: 40.0}
        {x: 5.0, y: 0.0, vx: 0.0, vy: 2.5, m: 0.04}
        {x: 0.0, y: 9.0, vx: -2.0, vy: 0.0, m: 0.01}
        {x: -15.0, y: 0.0, vx: 0.0, vy: -1.5, m: 0.02}
      ]
    }
    for ($input.n) {
      each as $step {
        for (4) {
          each as $i {
            var $b { value = $bodies[$i] }
            var $ax { value = 0.0 }
            var $ay { value = 0.0 }
            for (4) {
              each as $j {
                conditional {
                  if ($i != $j) {
                    var $o { value = $bodies[$j] }
                    var $dx { value = $o.x - $b.x }
                    var $dy { value = $o.y - $b.y }
                    var $d2 { value = $dx * $dx + $dy * $dy + 0.01 }
                    var $f { value = $o.m / ($d2 * ($d2|sqrt)) }
                    var.update $ax { value = $ax + $dx * $f }
                    var.update $ay { value = $ay + $dy * $f }
                  }
                }
              }
            }
            var.update $bodies[$i].vx { value = $b.vx + $ax * 0.001 }
            var.update $bodies[$i].vy { value = $b.vy + $ay * 0.001 }
          }
        }
        for (4) {
          each as $i {
            var.update $bodies[$i].x { value = $bodies[$i].x + $bodies[$i].vx * 0.001 }
            var.update $bodies[$i].y { value = $bodies[$i].y + $bodies[$i].vy * 0.001 }
          }
        }
      }
    }
    var $out { value = [] }
    foreach ($bodies) {
      each as $b {
        array.push $out { value = ($b.x * 1000000)|floor }
        array.push $out { value = ($b.y * 1000000)|floor }
      }
    }
  }
  response = $out
}
