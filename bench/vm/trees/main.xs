// bench 17 small 4: many small objects made by recursion, then walked
function "trees" {
  input {
    int n
  }
  stack {
    function.run "make" {
      input = {depth: $input.n}
    } as $tree
    var $total { value = 0 }
    for (4) {
      each as $round {
        function.run "weigh" {
          input = {tree: $tree}
        } as $w
        math.add $total { value = $w }
      }
    }
  }
  response = $total
}
