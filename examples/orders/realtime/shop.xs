realtime_server shop {
  canonical = "shop1"
  active = true
}
