function "push" {
  input {
    int n
  }
  stack {
    var $list { value = [] }
    for ($input.n) {
      each as $i {
        conditional {
          if ($i % 3 == 0 && $i > 2) {
            var.update $list { value = $list|push:$i }
          }
        }
      }
    }
  }
  response = {list: $list, total: $list|map:$$ * 2|sum}
}
