message whoami {
  realtime_server = "harbor_master"
  channel = "berths/{berth_id}"
  deliver_to = "sender"
  stack {
    realtime.get_session as $session
  }
  response = {id: $session.client_id, socket: $session.socket_id, node: ($session.socket_id / 4294967296)|floor, berth: $session.params.berth_id}
}
