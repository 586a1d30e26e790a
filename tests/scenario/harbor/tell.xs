// An event for everyone, or for one user alone.
query "tell" verb=POST {
  api_group = "harbor"
  input {
    text channel
    text event?
    json data?
    text user?
    text table?=user
  }
  stack {
    conditional {
      if ($input.user != null && $input.user != "") {
        api.realtime_event {
          channel = $input.channel
          event = $input.event
          data = $input.data
          auth_table = $input.table
          auth_id = $input.user
        }
      }
      else {
        api.realtime_event {
          channel = $input.channel
          event = $input.event
          data = $input.data
        }
      }
    }
  }
  response = {told: true}
}
