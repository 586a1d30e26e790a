// Who entered which room, and when. A row goes when its connection leaves the room.
table presence {
  schema {
    int id
    int user_id
    int room_id
    timestamp joined_at?=now
  }

  index = [
    {type: "primary", field: [{name: "id"}]}
    {type: "btree", field: [{name: "room_id"}]}
  ]
}
