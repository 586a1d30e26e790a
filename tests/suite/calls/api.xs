api_group "main" {
  canonical = "main-1"
  middleware = {pre: ["stamp"]}
}
