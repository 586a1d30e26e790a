realtime_server harbor_master {
  canonical = "quay1"
  active = true
}
