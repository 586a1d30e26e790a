api_group "plain" {
  canonical = "plain"
  cors = {mode: "custom", origins: ["https://a.test"], methods: ["GET"], headers: ["x-a"], credentials: false, max_age: 60}
}
