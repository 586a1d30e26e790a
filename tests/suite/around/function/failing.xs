function "failing" {
  input {
    bool thrown?=false
  }
  stack {
    conditional {
      if ($input.thrown) {
        throw {
          name = "Odd"
          value = {n: 1}
        }
      }
    }
    precondition (false) {
      error_type = "notfound"
      error = "no such thing"
      payload = 7
    }
  }

  middleware = {post: [{name: "say"}]}
}
