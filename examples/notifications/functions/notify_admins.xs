function "notify_admins" {
  input {
    json alert_data
  }
  stack {
    var $alert_data {
      value = $input.alert_data
    }

    db.query "user" {
      where = $db.user.role == "admin"
    } as $admin_users

    // Notify all admins
    foreach ($admin_users) {
      each as $admin {
        api.realtime_event {
          channel = "user:" ~ $admin.id
          event = "admin_alert"
          data = $alert_data
        }
      }
    }
  }
  response = $admin_users|count
}
