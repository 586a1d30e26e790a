query "later" verb=POST {
  api_group = "plain"

  input {
    text text
  }

  stack {
    var $x {
      value = 5
    }

    util.set_header {
      value = "X-Kind: later"
    }

    util.post_process {
      stack {
        db.add note {
          data = {text: $input.text ~ " " ~ $x ~ " " ~ $body.ok ~ " " ~ $status_code ~ " " ~ $headers["X-Kind"]}
        }
      }
    }

    var $x {
      value = 6
    }
  }

  response = {ok: "yes"}
}
