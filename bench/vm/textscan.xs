// bench 500000 small 20: searching, cutting and comparing texts
function "textscan" {
  input {
    int n
  }
  stack {
    var $word { value = "the quick brown fox jumps over the lazy dog" }
    var $vowels { value = 0 }
    var $hits { value = 0 }
    var $found { value = 0 }
    for ($input.n) {
      each as $i {
        var $pos { value = $i % 40 }
        var $piece { value = $word|substr:$pos:3 }
        conditional {
          if ($piece|contains:"o") {
            math.add $hits { value = 1 }
          }
        }
        var $at { value = $word|index:$piece }
        math.add $found { value = $at }
        var $j { value = 0 }
        while ($j < ($piece|strlen)) {
          each {
            var $c { value = $piece|substr:$j:1 }
            conditional {
              if ($c == "a" || $c == "e" || $c == "i" || $c == "o" || $c == "u") {
                math.add $vowels { value = 1 }
              }
            }
            math.add $j { value = 1 }
          }
        }
        conditional {
          if (($word|starts_with:$piece) || ($piece|to_upper) == "DOG") {
            math.add $hits { value = 100 }
          }
        }
      }
    }
  }
  response = {vowels: $vowels, hits: $hits, found: $found}
}
