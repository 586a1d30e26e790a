// expect {"n": 900}: 900
// expect {"n": 100000}: error ERROR_FATAL
function "cyclic" {
  input {
    int n
  }
  stack {
    conditional {
      if ($input.n == 0) {
        return {
          value = 0
        }
      }
    }
    function.run "cyclic" {
      input = {n: $input.n - 1}
    } as $below
  }
  response = $below + 1
}
