query "stats" verb=GET {
  api_group = "shop"

  input {
    enum state? {
      values = ["open", "paid", "cancelled"]
    }
  }

  stack {
    db.query "order" {
      where = $db.order.state ==? $input.state
      return = {type: "count"}
    } as $count

    db.query "order" {
      where = $db.order.state ==? $input.state
      sort = {total: "desc"}
      return = {type: "single"}
    } as $largest

    var $summary {
      value = {count: $count, largest: null, label: "none", asked_at: now|format_timestamp:"Y-m-d"}
    }

    conditional {
      if ($largest != null) {
        var.update $summary.largest {
          value = $largest.total
        }
        var.update $summary.label {
          value = ($largest.customer_name|first_notnull:"?"|to_text) ~ " (" ~ ($largest.total|to_int) ~ ")"
        }
      }
    }

    conditional {
      if ($count == 0) {
        return {
          value = {count: 0}
        }
      }
    }
  }

  response = $summary
}
