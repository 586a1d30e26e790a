realtime_server_trigger doorman {
  realtime_server = "port_ops"
  actions = {connect: true}
  stack {
    conditional {
      if ($auth.name == "slow") {
        util.sleep { value = 60 }
      }
    }
  }
  response = true
}
