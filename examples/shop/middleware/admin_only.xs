// In front of everything that changes the catalogue.
middleware "admin_only" {
  input {
    json vars
    text type
  }

  stack {
    precondition ($auth.role == "admin") {
      error_type = "accessdenied"
      error = "Only for the people who run the shop."
    }
  }

  response = null
  exception_policy = "critical"
}
