// Behind every query whose group and self say nothing of middleware.
middleware "branch_mark" {
  input {
    json vars
    text type
  }

  stack {
  }

  response = {branch: "v1"}
}
