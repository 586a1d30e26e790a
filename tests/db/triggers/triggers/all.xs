table_trigger "all_of_it" {
  table = "order"
  input {
    json new
    json old
    enum action {
      values = ["insert", "update", "delete", "truncate"]
    }
    text datasource
  }
  stack {
    db.add seen {
      data = {trigger: "all", action: $input.action, before: $input.old, after: $input.new, source: $input.datasource}
    }
  }
}
