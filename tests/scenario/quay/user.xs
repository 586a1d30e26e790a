table user {
  auth = true
  schema {
    int id
    text name
  }
}
