// expect {"name": "bo", "rows": [{"a": 1}, {"a": 2}]}: "Hi BO 1,2 of 2"
// expect {"name": "x", "rows": []}: "Hi X none of 0"
function "template" {
  input {
    text name
    json rows
  }
  stack {
    var $rows {
      value = $input.rows
    }
    util.sleep {
      value = 0.001
    }
    util.template_engine {
      value = "Hi {{ $input.name|upper }} {% for r in $rows %}{{ r.a }}{{ loop.last ? '' : ',' }}{% else %}none{% endfor %} of {{ $var.rows|length }}"
    } as $out
  }
  response = $out
}
