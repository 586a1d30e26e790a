// bench 250000 small 30: rows filtered, grouped and summed by their members, as an API does
function "records" {
  input {
    int n
  }
  stack {
    var $rows { value = [] }
    var $cities { value = ["oslo", "rome", "bern", "kyiv", "lima"] }
    for ($input.n) {
      each as $i {
        var $row {
          value = {id: $i, city: $cities[$i % 5], age: ($i * 37) % 90, name: "user " ~ $i}
        }
        array.push $rows { value = $row }
      }
    }
    var $by_city { value = {} }
    foreach ($rows) {
      each as $r {
        conditional {
          if ($r.age >= 18 && $r.city != "lima") {
            conditional {
              if (!($by_city|has:$r.city)) {
                var.update $by_city { value = $by_city|set:$r.city:{count: 0, ages: 0, names: []} }
              }
            }
            math.add $by_city[$r.city].count { value = 1 }
            math.add $by_city[$r.city].ages { value = $r.age }
            array.push $by_city[$r.city].names { value = $r.name|to_upper }
          }
        }
      }
    }
    var $summary { value = [] }
    foreach ($by_city|keys) {
      each as $city {
        var $e { value = $by_city[$city] }
        var $item { value = {city: $city, mean: ($e.ages / $e.count)|floor} }
        var.update $item { value = $item|merge:{first: $e.names|first, last: $e.names|last, n: $e.count} }
        array.push $summary { value = $item }
      }
    }
    var $adults { value = $rows|filter:$$.age >= 18 }
    var $ids { value = $adults|map:$$.id }
    var $sum { value = 0 }
    foreach ($ids) {
      each as $id {
        math.add $sum { value = $id }
      }
    }
  }
  response = {summary: $summary, adults: $adults|count, sum: $sum}
}
