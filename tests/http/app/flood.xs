// Four megabytes, in parts, for a client that may be slow.
query "flood" verb=GET {
  api_group = "raw"
  response_type = "stream"

  stack {
    var $line {
      value = ("0123456789abcdef"|fill:0:1024)|join:""
    }

    for (256) {
      each as $i {
        api.stream {
          value = $line
          format = "raw"
        }
      }
    }
  }
}
