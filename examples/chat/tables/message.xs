table message {
  schema {
    int id
    int room_id {
      table = "room"
    }
    int sender_id {
      table = "user"
    }
    text content
    timestamp created_at?=now
  }

  index = [
    {type: "primary", field: [{name: "id"}]}
    {type: "btree", field: [{name: "room_id"}, {name: "created_at", op: "desc"}]}
  ]
}
