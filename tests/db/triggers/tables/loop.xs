table "loop" {
  schema {
    int id
    int n
  }
}
