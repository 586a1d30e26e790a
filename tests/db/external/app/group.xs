api_group "pg" {
  canonical = "pg"
}
