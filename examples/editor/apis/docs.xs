api_group "docs" {
  canonical = "docs"
}
