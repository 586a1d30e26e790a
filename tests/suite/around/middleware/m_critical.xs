middleware "critical" {
  exception_policy = "critical"
  stack {
    throw {
      name = "Critical"
      value = "stop here"
    }
  }
}
