middleware "quiet" {
  exception_policy = "silent"
  stack {
    throw {
      name = "Quiet"
      value = "nobody hears"
    }
  }
}
