table product {
  auth = false

  schema {
    int id
    timestamp created_at?=now
    text name filters=trim|min:1
    // In cents.
    int price filters=min:0
    int stock?
    image? photo?
    bool active?=true
    int category_id {
      table = "category"
    }
  }

  index = [
    {type: "primary", field: [{name: "id"}]}
    {type: "btree", field: [{name: "category_id"}]}
    {type: "btree", field: [{name: "name"}]}
  ]
}
