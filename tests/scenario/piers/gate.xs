// The answer is the last segment of the channel.
channel_trigger gate {
  realtime_server = "port_ops"
  channel = "gates/{kind}"
  actions = {join: true}
  stack {
    realtime.get_session as $session
    var $answer { value = {allowed: true} }
    switch ($session.params.kind) {
      case ("one") {
        var.update $answer { value = {allowed: 1} }
      } break
      case ("empty") {
        var.update $answer { value = {} }
      } break
      case ("text") {
        var.update $answer { value = "welcome" }
      } break
      case ("crash") {
        throw {
          name = "gate"
          value = "The gate is down."
        }
      } break
      case ("slow") {
        util.sleep { value = 60 }
      } break
    }
  }
  response = $answer
}
