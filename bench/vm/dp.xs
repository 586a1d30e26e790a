// bench 1800 small 12: table of the longest common subsequence and of the knapsack
function "dp" {
  input {
    int n
  }
  stack {
    var $a { value = [] }
    var $b { value = [] }
    var $seed { value = 3 }
    for ($input.n) {
      each as $i {
        var.update $seed { value = ($seed * 75 + 74) % 65537 }
        array.push $a { value = $seed % 7 }
        var.update $seed { value = ($seed * 75 + 74) % 65537 }
        array.push $b { value = $seed % 7 }
      }
    }
    var $table { value = [] }
    for ($input.n + 1) {
      each as $i {
        array.push $table { value = 0|fill:0:($input.n + 1) }
      }
    }
    var $i { value = 1 }
    while ($i <= $input.n) {
      each {
        var $j { value = 1 }
        while ($j <= $input.n) {
          each {
            conditional {
              if ($a[$i - 1] == $b[$j - 1]) {
                var.update $table[$i][$j] { value = $table[$i - 1][$j - 1] + 1 }
              }
              elseif ($table[$i - 1][$j] >= $table[$i][$j - 1]) {
                var.update $table[$i][$j] { value = $table[$i - 1][$j] }
              }
              else {
                var.update $table[$i][$j] { value = $table[$i][$j - 1] }
              }
            }
            math.add $j { value = 1 }
          }
        }
        math.add $i { value = 1 }
      }
    }
    var $best { value = 0|fill:0:2001 }
    var $item { value = 0 }
    while ($item < 100) {
      each {
        var $weight { value = (($item * 7) % 31) + 5 }
        var $gain { value = (($item * 13) % 47) + 1 }
        var $room { value = $input.n }
        while ($room >= $weight) {
          each {
            var $with { value = $best[$room - $weight] + $gain }
            conditional {
              if ($with > $best[$room]) {
                var.update $best[$room] { value = $with }
              }
            }
            var.update $room { value = $room - 1 }
          }
        }
        math.add $item { value = 1 }
      }
    }
  }
  response = {lcs: $table[$input.n][$input.n], knapsack: $best[$input.n]}
}
