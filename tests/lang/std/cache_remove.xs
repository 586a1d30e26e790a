// A count below 0 removes from the end, however low it is.
// expect {"count": -1}: {"removed":1,"left":["a","b"]}
// expect {"count": 1}: {"removed":1,"left":["b","a"]}
// expect {"count": 0}: {"removed":2,"left":["b"]}
// expect {"count": -9223372036854775808}: {"removed":2,"left":["b"]}
// expect {"count": 9223372036854775807}: {"removed":2,"left":["b"]}
function "cache_remove" {
  input {
    int count
  }
  stack {
    redis.del {
      key = "list"
    }
    redis.push {
      key = "list"
      value = "a"
    }
    redis.push {
      key = "list"
      value = "b"
    }
    redis.push {
      key = "list"
      value = "a"
    }
    redis.remove {
      key = "list"
      value = "a"
      count = $input.count
    } as $removed
    redis.range {
      key = "list"
    } as $left
  }
  response = {removed: $removed, left: $left}
}
