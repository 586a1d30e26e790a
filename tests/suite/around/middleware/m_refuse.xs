middleware "refuse" {
  stack {
    precondition (false) {
      error_type = "accessdenied"
      error = "not you"
      payload = {why: $input.type}
    }
  }
}
