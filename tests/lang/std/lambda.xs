// expect {"list": [3, 1, 2]}: {"sorted":[1,2,3],"doubled":[6,2,4],"total":6,"error":"no"}
function "lambda" {
  input {
    json list
  }
  stack {
    var $factor {
      value = 2
    }
    api.lambda {
      code = "return $input.list.sort((a, b) => a - b);"
    } as $sorted
    api.lambda {
      code = """
        const out = [];
        for (const n of $input.list) out.push(n * $var.factor);
        return out;
        """
      timeout = 5
    } as $doubled
    var $total {
      value = $input.list|lambda_reduce:0:"return $result + $this"
    }
    try_catch {
      try {
        api.lambda {
          code = "throw new Error('no')"
        } as $none
      }
      catch {
        var $error_text {
          value = $error.message
        }
      }
    }
  }
  response = {sorted: $sorted, doubled: $doubled, total: $total, error: $error_text}
}
