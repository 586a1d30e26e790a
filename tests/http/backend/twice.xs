function "twice" {
  input {
    int n filters=max:1000
  }

  stack {
    util.sleep {
      value = 0.02
    }

    precondition ($input.n != 13) {
      error_type = "badrequest"
      error = "Not that one"
    }
  }

  response = $input.n * 2
}
