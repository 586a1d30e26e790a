function "quiet" {
  input {
    text word?=a
  }
  stack {
  }
  response = $input.word

  middleware = {pre: [{name: "quiet"}], post: [{name: "quiet"}]}
}
