function "uncached" {
  stack {
    redis.incr {
      key = "uncached"
      by = 1
    } as $n
  }
  response = $n

  cache = {ttl: 0, input: true, auth: true, datasource: true, ip: false}
}
