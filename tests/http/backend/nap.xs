query "nap" verb=GET {
  api_group = "plain"

  stack {
    util.sleep {
      value = 1.5
    }
  }
}
