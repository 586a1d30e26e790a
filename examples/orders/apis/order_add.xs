query "orders" verb=POST {
  api_group = "shop"
  auth = "user"

  input {
    text item filters=trim|min:1|max:80
  }

  stack {
    db.add order {
      data = {user_id: $auth.id, item: $input.item}
    } as $order
  }

  response = $order
}
