function "weigh" {
  input {
    json tree
  }
  stack {
    conditional {
      if ($input.tree.left == null) {
        return {
          value = 1
        }
      }
    }
    function.run "weigh" {
      input = {tree: $input.tree.left}
    } as $a
    function.run "weigh" {
      input = {tree: $input.tree.right}
    } as $b
  }
  response = $a + $b + ($input.tree.size % 3)
}
