// Behind every function that says nothing of middleware.
middleware "trail" {
  stack {
    redis.incr {
      key = "trail"
      by = 1
    }
  }
}
