function "stopped" {
  stack {
  }
  response = 1

  middleware = {pre: [{name: "critical"}], post: [{name: "stamp"}]}
}
