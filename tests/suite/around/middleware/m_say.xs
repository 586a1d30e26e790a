// Gives the error another message.
middleware "say" {
  stack {
  }
  response = {message: "said: " ~ $input.vars.result.message}
}
