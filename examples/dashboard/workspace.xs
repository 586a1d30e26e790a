workspace dashboard {
  description = "Orders and a live dashboard"
  realtime = {canonical: "dashboard"}
}
