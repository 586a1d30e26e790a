// bench 500000 small 50: text built piece by piece
function "textbuild" {
  input {
    int n
  }
  stack {
    var $s { value = "" }
    var $line { value = "" }
    var $lines { value = [] }
    for ($input.n) {
      each as $i {
        var.update $s { value = $s ~ "item " ~ $i ~ ";" }
        text.append $line { value = "ab" }
        conditional {
          if (($line|strlen) >= 40) {
            array.push $lines { value = $line ~ "\n" }
            var.update $line { value = "" }
          }
        }
      }
    }
    var $joined { value = $lines|join:"" }
  }
  response = {s: $s|strlen, joined: $joined|strlen, tail: $s|substr:-8, left: $line}
}
