workspace notifications {
  description = "Notifications for one user, for a role, and for everyone"
  realtime = {canonical: "notifications"}
}
