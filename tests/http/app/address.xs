query "address" verb=GET {
  api_group = "raw"

  stack {
  }
  response = $env.$remote_ip
}
