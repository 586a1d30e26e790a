function "finish" {
  stack {
    debug.log { value = "bye" }
  }
  response = 1
}
