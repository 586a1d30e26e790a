query "broadcast" verb=POST {
  api_group = "inbox"
  auth = "user"

  input {
    text message filters=trim|min:1|max:500
  }

  stack {
    precondition ($auth.role == "admin") {
      error_type = "accessdenied"
      error = "Only admins may broadcast"
    }

    api.realtime_event {
      channel = "global"
      event = "broadcast"
      data = { message: $input.message }
    }

    // Global announcements
    api.realtime_event {
      channel = "announcements"
      event = "system_update"
      data = { message: "Maintenance in 10 minutes" }
    }
  }

  response = {sent: true}
}
