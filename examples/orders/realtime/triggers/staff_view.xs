// Runs once per recipient: customers do not see the internal part, and muted people nothing.
channel_trigger staff_view {
  realtime_server = "shop"
  channel = "staff"
  actions = {deliver: true}

  stack {
    var $shown { value = $input.payload }

    conditional {
      if ($auth.role == "muted") {
        var $shown { value = null }
      }
      elseif ($auth.role != "staff") {
        var $shown { value = {text: $input.payload.text, from: $input.client.permissions.row_id} }
      }
    }
  }

  response = $shown
}
