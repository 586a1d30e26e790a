// expect {"n": 200}: {"equal":true,"strict":true,"less":false,"not_less":true,"differs":false,"in":true}
function "shared_nested" {
  input {
    int n
  }
  stack {
    var $a { value = {x: [1]} }
    var $b { value = {x: [1]} }
    var $c { value = {x: [2]} }
    for ($input.n) {
      each as $i {
        var.update $a { value = [$a, {k: $a}, $a] }
        var.update $b { value = [$b, {k: $b}, $b] }
        var.update $c { value = [$c, {k: $c}, $c] }
      }
    }
  }
  response = {equal: $a == $b, strict: $a === $b, less: $a < $b, not_less: $a >= $b, differs: $a == $c, in: [$a]|in:$b}
}
