table "thing" {
  schema {
    int id
    text name
    int kind_id
  }
}
