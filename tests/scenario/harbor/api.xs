api_group "harbor" {
  canonical = "harbor"
}
