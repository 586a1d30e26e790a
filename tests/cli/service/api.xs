api_group "c" {
  canonical = "c"
}
