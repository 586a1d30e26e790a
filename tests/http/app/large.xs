query "large" verb=GET {
  api_group = "raw"

  stack {
    util.set_header {
      value = "Content-Type: text/plain"
    }
  }
  response = ("0123456789abcdef"|fill:0:1024)|join:""
}
