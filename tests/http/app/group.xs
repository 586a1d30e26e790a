api_group "raw" {
  canonical = "raw"
}
