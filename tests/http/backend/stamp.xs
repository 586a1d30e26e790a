// Before every query of the group.
middleware "stamp" {
  input {
    json vars
    text type
  }

  stack {
  }

  response = {stamped: "by " ~ $input.type}
  exception_policy = "rethrow"
  response_strategy = "merge"
}
