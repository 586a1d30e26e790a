query "echo" verb=POST {
  api_group = "raw"

  input {
    text text
  }

  stack {
  }
  response = {text: $input.text}
}
