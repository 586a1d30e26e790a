middleware "silent" {
  input {
    json vars
    text type
  }

  stack {
    throw {
      name = "ignored"
      value = "nobody hears this"
    }
  }

  exception_policy = "silent"
}
