table "seen" {
  schema {
    int id
    text trigger
    text action
    json before?
    json after?
    text source?
  }
}
