// Written by the observers of the realtime server: who came, joined, left and went.
table visit {
  schema {
    int id
    text what
    int user_id
    text channel?
  }

  index = [
    {type: "primary", field: [{name: "id"}]}
  ]
}
