middleware "refuse" {
  input {
    json vars
    text type
  }

  stack {
    precondition (($input.vars|get:"secret":"") == "open") {
      error_type = "accessdenied"
      error = "Closed"
    }
  }

  exception_policy = "critical"
}
