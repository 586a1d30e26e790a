// What JSON leaves out is null, like no value at all.
// expect {"code": "return () => 1"}: null
// expect {"code": "return Symbol('a')"}: null
// expect {"code": "return {toJSON() {}}"}: null
// expect {"code": "return {f() {}, n: 1}"}: {"n":1}
function "lambda_no_json" {
  input {
    text code
  }
  stack {
    api.lambda {
      code = $input.code
    } as $made
  }
  response = $made
}
