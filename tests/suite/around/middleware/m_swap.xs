middleware "swap" {
  exception_policy = "rethrow"
  response_strategy = "replace"
  stack {
    util.get_all_input as $all
  }
  response = $all.type == "pre" ? {n: 40} : [$all.vars.result, $all.vars.status]
}
