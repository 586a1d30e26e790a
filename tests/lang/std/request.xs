// expect {"url": "http://127.0.0.1:9/"}: {"status":0,"method":"POST","error":"The address is private; option http.allow_private permits it"}
// expect {"url": "http://[::1]:9/x"}: {"status":0,"method":"POST","error":"The address is private; option http.allow_private permits it"}
// expect {"url": "with blank"}: error ERROR_FATAL
function "request" {
  input {
    text url
  }
  stack {
    api.request {
      url = $input.url
      method = "POST"
      params = {a: 1}
      headers = ["X-Test: 1"]
      timeout = 2
    } as $r
  }
  response = {status: $r.response.status, method: $r.request.method, error: $r.response.error}
}
