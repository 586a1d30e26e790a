// expect {"name": "  Ann ", "tags": ["a"]}: {"name":"ANN","tags":["a"],"size":"m","age":null,"note":"hi"}
// expect {"name": "", "tags": []}: error ERROR_CODE_INPUT_ERROR
// expect {"name": "Bo", "tags": ["x"], "size": "huge"}: error ERROR_CODE_INPUT_ERROR
// expect {"name": "Bo", "tags": "x", "age": "41", "note": null}: error ERROR_CODE_INPUT_ERROR
function "bind_them" {
  input {
    text name filters=trim|upper|min:2
    text[] tags
    enum size?="m" {
      values = ["s", "m"]
    }
    int? age?
    text note?="hi"
  }
  stack {
  }
  response = {name: $input.name, tags: $input.tags, size: $input.size, age: $input.age, note: $input.note}
}
