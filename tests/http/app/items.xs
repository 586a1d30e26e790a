query "items/{id}" verb=GET {
  api_group = "raw"

  input {
    int id
  }

  stack {
  }
  response = {id: $input.id}
}
