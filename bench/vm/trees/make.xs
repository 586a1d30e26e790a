function "make" {
  input {
    int depth
  }
  stack {
    conditional {
      if ($input.depth == 0) {
        return {
          value = {left: null, right: null, size: 1}
        }
      }
    }
    function.run "make" {
      input = {depth: $input.depth - 1}
    } as $left
    function.run "make" {
      input = {depth: $input.depth - 1}
    } as $right
  }
  response = {left: $left, right: $right, size: $left.size + $right.size}
}
