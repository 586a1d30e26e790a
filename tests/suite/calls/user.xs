table "user" {
  auth = true
  schema {
    int id
    email email
    password password
  }
  index = [{type: "primary", field: [{name: "id"}]}]
}
