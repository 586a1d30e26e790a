// Behind every query of the group; an object gains a member.
middleware "wrap" {
  input {
    json vars
    text type
  }

  stack {
  }

  response = {seen: $input.vars.status}
}
