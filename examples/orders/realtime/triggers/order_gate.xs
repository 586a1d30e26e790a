// An order's channel is for its customer and for staff.
channel_trigger order_gate {
  realtime_server = "shop"
  channel = "orders/{order_id}"
  actions = {join: true}

  stack {
    realtime.get_session as $session

    db.get order {
      field_name = "id"
      field_value = $session.params.order_id|to_int
    } as $order
  }

  response = {allowed: $order != null && ($auth.role == "staff" || $order.user_id == $auth.id), reason: "Not your order"}
}
