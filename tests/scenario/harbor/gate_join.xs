// gate:false is refused, gate:slow admitted after a second, gate:null admitted, gate:raise refused with its text.
realtime_trigger "gate_join" {
  channel = "gate:*"
  actions = {join: true}
  input {
    text action
    text channel
    json client
    json options
    json payload
  }
  stack {
    var $answer { value = null }
    conditional {
      if ($input.channel == "gate:false") {
        var.update $answer { value = false }
      }
      elseif ($input.channel == "gate:slow") {
        util.sleep { value = 1 }
      }
      elseif ($input.channel == "gate:raise") {
        throw {
          name = "gate"
          value = "The gate is down."
        }
      }
    }
  }
  response = $answer
}
