api_group "shop" {
  canonical = "shop"
  description = "Login, orders"
}
