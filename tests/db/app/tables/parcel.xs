table "parcel" {
  schema {
    int id
    text label filters=trim
    int qty?=1
    decimal weight?
    bool done?
    enum state?=queued {
      values = ["queued", "moving", "done"]
    }
    json? meta?
    text[] tags?
    int[] nums?
    int owner_id? {
      table = "user"
    }
    object dims? {
      schema {
        int w?=3
        text unit?="cm"
      }
    }
    date day?
    timestamp? at?
    vector v? {
      size = 3
    }
    geo_point loc?
    text? opt?
  }
  index = [
    {type: "primary", field: [{name: "id"}]}
    {type: "btree", field: [{name: "qty", op: "desc"}, {name: "label", op: "asc"}]}
    {type: "gin", field: [{name: "tags", op: "jsonb_path_op"}]}
  ]
}
