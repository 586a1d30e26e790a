middleware "note_tool" {
  input {
    json vars
    enum type {
      values = ["pre", "post"]
    }
  }
  stack {
  }
  response = {noted: true}
}
