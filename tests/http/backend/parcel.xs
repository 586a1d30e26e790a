table "parcel" {
  schema {
    int id
    timestamp created_at?=now
    text label filters=trim|min:1
    int courier_id?
    enum state?="queued" {
      values = ["queued", "moving", "done"]
    }
    json meta?
  }

  index = [
    {type: "primary", field: [{name: "id"}]}
    {type: "btree|unique", field: [{name: "label"}]}
  ]
}
