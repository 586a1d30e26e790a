// bench 1000000 small 9000: counting in objects by computed keys
function "count" {
  input {
    int n
  }
  stack {
    var $words { value = "ant bee cat dog eel fox gnu hen ibis jay kite lynx mole newt owl pig"|split:" " }
    var $counts { value = {} }
    var $buckets { value = {} }
    var $seed { value = 7 }
    for ($input.n) {
      each as $i {
        var.update $seed { value = ($seed * 75 + 74) % 65537 }
        var $word { value = $words[$seed % 16] }
        conditional {
          if ($counts|has:$word) {
            var.update $counts { value = $counts|set:$word:(($counts|get:$word) + 1) }
          }
          else {
            var.update $counts { value = $counts|set:$word:1 }
          }
        }
        var $key { value = "k" ~ ($seed % 5000) }
        var.update $buckets[$key] { value = ($buckets|get:$key:0) + 1 }
      }
    }
    var $total { value = 0 }
    foreach ($counts|keys) {
      each as $k {
        math.add $total { value = $counts[$k] }
      }
    }
  }
  response = {total: $total, fox: $counts.fox, keys: $buckets|count, k7: $buckets.k7}
}
