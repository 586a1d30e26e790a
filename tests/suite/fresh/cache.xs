function "visits" {
  stack {
    redis.incr {
      key = "visits"
      by = 1
    } as $n
  }
  response = $n

  test "the cache begins empty" {
    expect.to_equal ($response) { value = 1 }
  }
  test "and does so again" {
    expect.to_equal ($response) { value = 1 }
  }
}
