table "tally" {
  schema {
    int id
  }
}
