// bench 150000 small 30: insertion sort by hand, then sort by value and by member
function "sort" {
  input {
    int n
  }
  stack {
    var $seed { value = 11 }
    var $numbers { value = [] }
    var $rows { value = [] }
    for ($input.n) {
      each as $i {
        var.update $seed { value = ($seed * 75 + 74) % 65537 }
        array.push $numbers { value = $seed }
        array.push $rows { value = {id: $i, score: $seed % 1000} }
      }
    }
    var $hand { value = $numbers|slice:0:800 }
    var $len { value = $hand|count }
    var $i { value = 1 }
    while ($i < $len) {
      each {
        var $key { value = $hand[$i] }
        var $j { value = $i - 1 }
        while ($j >= 0 && $hand[$j] > $key) {
          each {
            var.update $hand { value = $hand|set:($j + 1):($hand|get:$j) }
            var.update $j { value = $j - 1 }
          }
        }
        var.update $hand { value = $hand|set:($j + 1):$key }
        math.add $i { value = 1 }
      }
    }
    var $sorted { value = $numbers|sort }
    var $check { value = 0 }
    var $at { value = 0 }
    foreach ($sorted) {
      each as $x {
        math.add $at { value = 1 }
        var.update $check { value = ($check + $x * $at) % 1000003 }
      }
    }
    var.update $at { value = 0 }
    var $scores { value = 0 }
    foreach ($rows|sort:"score":"int") {
      each as $row {
        math.add $at { value = 1 }
        var.update $scores { value = ($scores + $row.score * $at) % 1000003 }
      }
    }
  }
  response = {first: $hand[0], last: $hand|last, check: $check, scores: $scores}
}
