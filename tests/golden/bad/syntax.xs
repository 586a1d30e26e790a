function "syntax" {
  stack {
    var $a { value = 1 + }
    var $b { value = ($a|count > 3 }
    var $c { value = {a: 1 b: 2} }
    if ($a == 1) {
    }
    var $d { value = "open }
  }
  response = $a
}
