// expect {"times": 3}: 8
// expect {"times": 40}: error ERROR_FATAL
function "huge_text" {
  input {
    int times
  }
  stack {
    var $s { value = "a" }
    for ($input.times) {
      each as $i {
        var.update $s { value = $s ~ $s }
      }
    }
  }
  response = $s|strlen
}
