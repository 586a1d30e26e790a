workflow_test "middleware and caches of functions" {
  stack {
    // pre: n becomes n + 1; post: status and result beside the result
    function.run "plus" {
      input = {n: 1}
    } as $r
    expect.to_equal ($r) { value = {sum: 3, status: 200, seen: "{\"sum\":3}"} }
    var $input_object {
      value = {n: 5, more: 10, other: 1}
    }
    function.run "plus" {
      input = $input_object
    } as $r
    expect.to_equal ($r.sum) { value = 16 }
    function.call "plus" {
      input = {n: 7}
    } as $r
    expect.to_equal ($r.sum) { value = 9 }

    // inputs are bound behind the pre-middleware
    expect.to_throw {
      stack {
        function.run "plus" {
          input = {n: 1, more: 51}
        }
      }
      exception = "Value is greater than the maximum value of 50"
    }

    // replace
    function.run "swapped" as $r
    expect.to_equal ($r) { value = [42, 200] }

    // an error of pre skips the function; post still runs
    redis.get {
      key = "stamp post"
    } as $before
    try_catch {
      try {
        function.run "refused" as $r
      }
      catch {
        var $caught {
          value = $error
        }
      }
    }
    redis.get {
      key = "stamp post"
    } as $after
    redis.has {
      key = "refused"
    } as $ran
    expect.to_equal ($caught.code) { value = "ERROR_CODE_ACCESS_DENIED" }
    expect.to_equal ($caught.message) { value = "not you" }
    expect.to_equal ($after - $before) { value = 1 }
    expect.to_be_false ($ran)

    // silent and critical
    function.run "quiet" as $r
    expect.to_equal ($r) { value = "a" }
    try_catch {
      try {
        function.run "stopped" as $r
      }
      catch {
        var $caught {
          value = $error
        }
      }
    }
    redis.get {
      key = "stamp post"
    } as $last
    expect.to_equal ($caught.name) { value = "Critical" }
    expect.to_equal ($last) { value = $after }

    // post changes the error, not its kind
    try_catch {
      try {
        function.run "failing" as $r
      }
      catch {
        var $caught {
          value = $error
        }
      }
    }
    expect.to_equal ($caught.code) { value = "ERROR_CODE_NOT_FOUND" }
    expect.to_equal ($caught.message) { value = "said: no such thing" }
    expect.to_equal ($caught.result) { value = 7 }
    try_catch {
      try {
        function.run "failing" {
          input = {thrown: true}
        } as $r
      }
      catch {
        var $caught {
          value = $error
        }
      }
    }
    expect.to_equal ($caught.name) { value = "Odd" }
    expect.to_equal ($caught.message) { value = "said: Odd" }

    // kept results
    function.run "kept" {
      input = {key: "a"}
    } as $one
    function.run "kept" {
      input = {key: "a"}
    } as $two
    function.run "kept" {
      input = {key: "b"}
    } as $other
    expect.to_equal ($one) { value = {n: 1, at: "é"} }
    expect.to_equal ($two) { value = {n: 1, at: "é"} }
    expect.to_equal ($other.n) { value = 1 }
    function.run "kept" {
      input = {key: "a", as_is: null}
    } as $given
    expect.to_equal ($given.n) { value = 2 }
    function.run "kept" {
      input = {key: "none"}
    } as $none
    function.run "kept" {
      input = {key: "none"}
    } as $none
    expect.to_be_null ($none)
    redis.get {
      key = "kept none"
    } as $runs
    expect.to_equal ($runs) { value = 1 }
    for (2) {
      each as $i {
        try_catch {
          try {
            function.run "kept" {
              input = {key: "bad"}
            } as $r
          }
          catch {
          }
        }
      }
    }
    redis.get {
      key = "kept bad"
    } as $runs
    expect.to_equal ($runs) { value = 2 }
    function.run "uncached" as $r
    function.run "uncached" as $r
    expect.to_equal ($r) { value = 2 }

    // the branch's list counts where a function has none; a kept result is not made again
    redis.get {
      key = "trail"
    } as $trail
    expect.to_equal ($trail) { value = 8 }

    // detached calls go the same way
    function.run "plus" {
      input = {n: 1}
      runtime_mode = "async-shared"
    } as $id
    await {
      ids = [$id]
      timeout = 10
    } as $all
    expect.to_equal (($all|values|first).status) { value = 200 }
  }
}
