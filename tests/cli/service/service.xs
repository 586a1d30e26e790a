run.service "counter" {
  pre = {name: "fill"}
  env = ["WHO"]
}
