realtime_server port_ops {
  canonical = "piers1"
  active = true
}
