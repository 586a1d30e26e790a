table ran {
  auth = false
  schema {
    int id
    text task
    text node
    int at
  }
}
