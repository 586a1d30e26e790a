api_group "catalog" {
  canonical = "catalog"
}
