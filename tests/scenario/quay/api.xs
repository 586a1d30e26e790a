api_group "quay" {
  canonical = "quay"
}
