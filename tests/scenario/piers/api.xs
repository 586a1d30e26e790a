api_group "piers" {
  canonical = "piers"
}
