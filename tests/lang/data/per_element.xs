// expect {"rows": [{"n": 3, "ok": true}, {"n": 1, "ok": false}, {"n": 2, "ok": true}]}: {"total":6,"ok":[3,2],"sorted":[1,2,3],"big":{"n":3,"ok":true},"any":true,"acc":"3-1-2-"}
function "per_element" {
  input {
    json rows
  }
  stack {
    var $rows { value = $input.rows }
  }
  response = {
    total: $rows|map:$$.n|sum,
    ok: $rows|filter:$$.ok|map:$$.n,
    sorted: $rows|sort:$$.n|map:$$.n,
    big: $rows|find:$$.n > 2,
    any: $rows|some:$$.n == 1,
    acc: $rows|reduce:$result ~ $$.n ~ "-":""
  }
}
