branch "v1" {
  color = "#112233"
  middleware = {function: {post: [{name: "trail"}]}}
  history = {}
}
