// bench 600 small 2: JSON decoded, looked through and encoded
function "json" {
  input {
    int n
  }
  stack {
    var $rows { value = [] }
    for (50) {
      each as $i {
        array.push $rows {
          value = {id: $i, name: "room \"" ~ $i ~ "\"", tags: ["red", "green", "blue"], price: $i * 1.5, open: $i % 2 == 0, note: null}
        }
      }
    }
    var $text { value = $rows|json_encode }
    var $sum { value = 0 }
    for ($input.n) {
      each as $round {
        var $data { value = $text|json_decode }
        foreach ($data) {
          each as $row {
            conditional {
              if ($row.open) {
                math.add $sum { value = $row.price + ($row.tags|count) }
              }
            }
          }
        }
        var.update $text { value = $data|json_encode }
      }
    }
  }
  response = {sum: $sum, size: $text|strlen}
}
