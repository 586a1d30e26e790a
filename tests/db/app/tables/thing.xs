table "thing" {
  schema {
    uuid id
    text name
    int parcel_id? {
      table = "parcel"
    }
  }
  index = [
    {type: "primary", field: [{name: "id"}]}
  ]
}
