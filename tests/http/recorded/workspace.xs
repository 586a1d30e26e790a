workspace "recorded" {
  description = "What tests/http/history.c asks"
}
