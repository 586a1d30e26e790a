// expect {}: error ERROR_FATAL
function "forever" {
  stack {
    var $i { value = 0 }
    while (true) {
      each {
        var.update $i { value = $i + 1 }
      }
    }
  }
  response = $i
}
