api_group "orders" {
  canonical = "orders"
}
