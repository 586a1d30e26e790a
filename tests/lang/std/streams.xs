// expect {"csv": "id;name\n1;\"a;b\"\n2;c", "jsonl": "{\"n\":1}\n\n2\n"}: {"names":["a;b","c"],"lists":[["id","name"],["1","a;b"],["2","c"]],"json":[{"n":1},2]}
// expect {"csv": "x", "jsonl": " "}: {"names":[],"lists":[["x"]],"json":[]}
// expect {"csv": "x", "jsonl": "1\n{oops"}: error ERROR_FATAL
function "streams" {
  input {
    text csv
    text jsonl
  }
  stack {
    stream.from_csv {
      value = $input.csv
      separator = ";"
    } as $rows
    var $names {
      value = []
    }
    foreach ($rows) {
      each as $row {
        array.push $names {
          value = $row.name
        }
      }
    }
    storage.create_file_resource {
      filename = "a.csv"
      filedata = $input.csv
    } as $file
    stream.from_csv {
      value = $file
      separator = ";"
      headers = false
    } as $lists
    stream.from_jsonl {
      value = $input.jsonl
    } as $json
  }
  response = {names: $names, lists: $lists, json: $json}
}
