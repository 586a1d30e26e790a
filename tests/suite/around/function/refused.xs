function "refused" {
  stack {
    redis.incr {
      key = "refused"
      by = 1
    }
  }
  response = 1

  middleware = {pre: [{name: "refuse"}], post: [{name: "stamp"}]}
}
