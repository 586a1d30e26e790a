api_group "auth" {
  canonical = "auth"
}
