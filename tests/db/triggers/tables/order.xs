table "order" {
  schema {
    int id
    text state?="new"
    int total?
    password secret?
  }
}
