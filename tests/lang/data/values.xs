// expect {}: {"a":[1,2,3],"b":[1,2],"deep":{"x":{"y":[7]}},"text":"n=3 ok","merged":{"k":2,"z":1}}
function "value_semantics" {
  stack {
    var $b { value = [1, 2] }
    var $a { value = $b }
    array.push $a { value = 3 }
    var $deep { value = {} }
    var.update $deep.x.y { value = [7] }
    var $text { value = "n=" ~ ($a|count) ~ " ok" }
    var $merged { value = {k: 1, z: 1}|merge:{k: 2} }
  }
  response = {a: $a, b: $b, deep: $deep, text: $text, merged: $merged}
}
