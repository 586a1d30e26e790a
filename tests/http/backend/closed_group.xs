api_group "closed" {
  canonical = "closed"
  active = false
}
