query "guarded" verb=GET {
  api_group = "plain"
  middleware = {pre: [{name: "refuse"}, {name: "silent"}], post: [{name: "wrap"}, {name: "refuse", active: false}]}

  input {
    text secret?=""
  }

  stack {
  }

  response = {open: true}
}
