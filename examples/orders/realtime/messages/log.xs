// For the server alone.
message log {
  realtime_server = "shop"
  channel = "lobby"
  deliver_to = "explicit"

  input {
    text line
  }

  stack {
    db.add visit {
      data = {what: $input.line, user_id: 0, channel: "lobby"}
    }
  }

  response = {ok: true}
}
