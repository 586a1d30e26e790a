// expect {"a": 1, "b": 0}: error ERROR_FATAL
// expect {"a": 6, "b": 2}: 3
// expect {"b": 2}: error ERROR_CODE_INPUT_ERROR
// expect {"a": 5, "b": -1}: error ERROR_CODE_NOT_FOUND
function "divide_them" {
  input {
    int a
    int b
  }
  stack {
    precondition ($input.b >= 0) {
      error_type = "notfound"
      error = "negative"
    }
  }
  response = $input.a / $input.b
}
