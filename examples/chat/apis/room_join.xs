// Makes the room when it is new and the caller a member of it.
query "rooms" verb=POST {
  api_group = "chat"
  auth = "user"

  input {
    text name filters=trim|min:1|max:80
  }

  stack {
    db.get "room" {
      field_name = "name"
      field_value = $input.name
    } as $room

    conditional {
      if ($room == null) {
        db.add "room" {
          data = {name: $input.name}
        } as $room
      }
    }

    db.query "room_member" {
      where = $db.room_member.room_id == $room.id && $db.room_member.user_id == $auth.id
      return = {type: "exists"}
    } as $is_member

    conditional {
      if (!$is_member) {
        db.add "room_member" {
          data = {room_id: $room.id, user_id: $auth.id}
        }
      }
    }
  }

  response = $room
}
