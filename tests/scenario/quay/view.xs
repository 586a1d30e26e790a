channel_trigger view {
  realtime_server = "harbor_master"
  channel = "pilots"
  actions = {deliver: true}
  stack {
    realtime.get_session as $session
    var $out { value = {text: $input.payload.text, to: $session.client_id} }
    conditional {
      if ($input.payload.text == "secret" && $session.client_id == "2") {
        var.update $out { value = null }
      }
    }
  }
  response = $out
}
