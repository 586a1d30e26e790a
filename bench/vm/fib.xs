// bench 32 small 8: recursion through function.run
function "fib" {
  input {
    int n
  }
  stack {
    conditional {
      if ($input.n < 2) {
        return {
          value = $input.n
        }
      }
    }
    function.run "fib" {
      input = {n: $input.n - 1}
    } as $a
    function.run "fib" {
      input = {n: $input.n - 2}
    } as $b
  }
  response = $a + $b
}
