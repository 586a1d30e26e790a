api_group "recorded" {
  canonical = "recorded"
}
