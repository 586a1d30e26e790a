// Conditions in path texts and expressions made at run time see the variables of the running code.
// expect {"n": 0}: [5]
// expect {"n": 1}: [1,5]
// expect {"n": 2}: [{"a":1,"big":false},{"a":5,"big":true}]
// expect {"n": 3}: 9
// expect {"n": 4}: [5]
// expect {"n": 5}: [[5],[1,5]]
// expect {"n": 6}: "Unable to locate var: nowhere"
// expect {"n": 7}: [5]
// expect {"n": 8}: [1,5]
// expect {"n": 9}: "late"
function "outer_variables" {
  input {
    int n
    int low?=2
  }
  stack {
    var $limit { value = 3 }
    var $rows { value = {list: [{a: 1}, {a: 5}]} }
    var $out { value = null }
    switch ($input.n) {
      case (0) {
        var $out { value = $rows|get:"list[$$.a > $limit].a" }
      } break
      case (1) {
        var $limit { value = 0 }
        var $out { value = $rows|get:"list[$$.a > $limit].a" }
      } break
      case (2) {
        var $rows { value = $rows|set:"list[$$.a > $limit].big":true }
        var $rows { value = $rows|set:"list[$$.a <= $limit].big":false }
        var $out { value = $rows.list }
      } break
      case (3) {
        var $out { value = "$limit * $limit"|to_expr }
      } break
      case (4) {
        var $out { value = $rows|get:"list[$$.a > $input.low].a" }
      } break
      case (5) {
        var $out { value = [] }
        foreach ([4, 0]) {
          each as $least {
            array.push $out { value = $rows|get:("list[$$.a > $least]." ~ "a") }
          }
        }
      } break
      case (6) {
        try_catch {
          try {
            var $out { value = $rows|get:"list[$$.a > $nowhere].a" }
          }
          catch {
            var $out { value = $error.message }
          }
        }
      } break
      case (7) {
        var $condition { value = "list[$$.a > $var.limit && $$ != null].a" }
        var $out { value = $rows|get:$condition }
      } break
      case (8) {
        var $out { value = $rows|get:"list[$$.a > ($nowhere ?? 0)].a" }
      } break
      case (9) {
        var $out { value = "$out ?? $later ?? 'late'"|to_expr }
        var $later { value = 1 }
      } break
    }
  }
  response = $out
}
