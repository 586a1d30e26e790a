api_group "inbox" {
  canonical = "inbox"
}
