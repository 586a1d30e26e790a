// expect {"key": "a"}: {"first":null,"stored":{"n":1},"hits":[1,3],"queue":["x","y"],"keys":["a","hits","queue"],"limited":"ERROR_CODE_TOO_MANY_REQUESTS"}
function "cache" {
  input {
    text key
  }
  stack {
    redis.get {
      key = $input.key
    } as $first
    redis.set {
      key = $input.key
      data = {n: 1}
      ttl = 60
    }
    cache.get {
      key = $input.key
    } as $stored
    redis.incr {
      key = "hits"
    } as $one
    redis.incr {
      key = "hits"
      by = 2
    } as $three
    redis.push {
      key = "queue"
      value = "x"
    }
    redis.push {
      key = "queue"
      value = "y"
    }
    redis.range {
      key = "queue"
    } as $queue
    redis.keys {
      search = "*"
    } as $keys
    var $limited {
      value = null
    }
    try_catch {
      try {
        for (3) {
          each as $i {
            redis.ratelimit {
              key = "api"
              max = 2
              ttl = 60
              error = "slow down"
            }
          }
        }
      }
      catch {
        var.update $limited {
          value = $error.code
        }
      }
    }
  }
  response = {first: $first, stored: $stored, hits: [$one, $three], queue: $queue, keys: $keys, limited: $limited}
}
