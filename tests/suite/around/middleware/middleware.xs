middleware "stamp" {
  input {
    json vars
    enum type {
      values = ["pre", "post"]
    }
  }
  stack {
    redis.incr {
      key = "stamp " ~ $input.type
      by = 1
    }
    var $out {
      value = {n: ($input.vars|get:"n":0) + 1}
    }
    conditional {
      if ($input.type == "post") {
        var $out {
          value = {status: $input.vars.status, seen: $input.vars.result|json_encode}
        }
      }
    }
  }
  response = $out
}
