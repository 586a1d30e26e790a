// The program speaks: as itself, or as user 1.
query "tell" verb=POST {
  api_group = "quay"
  input {
    text channel
    json data
    bool signed?
  }
  stack {
    conditional {
      if ($input.signed) {
        realtime.publish {
          realtime_server = "harbor_master"
          channel = $input.channel
          message = "notice"
          data = $input.data
          auth_table = "user"
          auth_id = "1"
        }
      }
      else {
        realtime.publish {
          realtime_server = "harbor_master"
          channel = $input.channel
          message = "notice"
          data = $input.data
        }
      }
    }
  }
  response = {ok: true}
}
