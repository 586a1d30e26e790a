// Who may connect at all, and who has gone.
realtime_server_trigger doorman {
  realtime_server = "shop"
  actions = {connect: true}

  stack {
  }

  response = {allowed: $auth.name != "mallory", reason: "You are not welcome"}
}
