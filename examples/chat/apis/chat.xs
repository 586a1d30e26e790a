api_group "chat" {
  canonical = "chat"
  description = "Login, rooms and messages"
}
