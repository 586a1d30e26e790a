// A remark on an order, by its customer or by staff.
message note {
  realtime_server = "shop"
  channel = "orders/{order_id}"
  auth = "user"

  input {
    text text filters=trim|min:1|max:200
  }

  stack {
    realtime.get_session as $session

    precondition ($session.authenticated) {
      error_type = "accessdenied"
      error = "Log in first"
    }
  }

  response = {order_id: $input.order_id, text: $input.text, by: $auth.name, channel: $session.channel, param: $session.params.order_id}
}
