api_group "shy" {
  canonical = "shy"
  swagger = {active: true, token: "sesame"}
}
