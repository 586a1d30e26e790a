query "inputs/{word}" verb=PUT {
  api_group = "plain"

  input {
    text word
    int n?=5 filters=min:1|max:9
    bool flag?
    text[] tags?
    object where? {
      schema {
        decimal lat
        decimal lng
      }
    }
  }

  stack {
  }

  response = $input
}
