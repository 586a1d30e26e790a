table room_member {
  schema {
    int id
    int room_id {
      table = "room"
    }
    int user_id {
      table = "user"
    }
    timestamp joined_at?=now
  }

  index = [
    {type: "primary", field: [{name: "id"}]}
    {type: "btree|unique", field: [{name: "room_id"}, {name: "user_id"}]}
  ]
}
