table_trigger "other_source" {
  table = "order"
  actions = {insert: true}
  datasources = ["other"]
  stack {
    db.add seen {
      data = {trigger: "other", action: $input.action, source: $input.datasource}
    }
  }
}
