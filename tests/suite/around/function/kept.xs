function "kept" {
  input {
    text key
    json? as_is?
  }
  stack {
    redis.incr {
      key = "kept " ~ $input.key
      by = 1
    } as $n
    precondition ($input.key != "bad") {
      error = "bad key"
    }
  }
  response = $input.key == "none" ? null : {n: $n, at: "é"}

  cache = {ttl: 60, input: true, auth: true, datasource: true, ip: false, headers: [], env: []}
}
