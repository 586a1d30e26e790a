// What a message becomes is what its text says.
realtime_trigger "gate_message" {
  channel = "gate:*"
  actions = {message: true}
  input {
    text action
    text channel
    json client
    json options
    json payload
  }
  stack {
    var $answer { value = {was: $input.payload, from: $input.client.permissions.row_id} }
    conditional {
      if ($input.payload == "false") {
        var.update $answer { value = false }
      }
      elseif ($input.payload == "null") {
        var.update $answer { value = null }
      }
      elseif ($input.payload == "raise") {
        throw {
          name = "gate"
          value = "No such boat."
        }
      }
    }
  }
  response = $answer
}
