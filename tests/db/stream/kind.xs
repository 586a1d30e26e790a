table "kind" {
  schema {
    int id
    text name
  }
}
