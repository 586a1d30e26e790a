// SQL templates: what they put out is bound, or a plain name, or refused.
// expect {}: {"rows":[{"id":2,"it":"label"},{"id":1,"it":"label"}],"user":{"name":"Ann","evil":"x' OR 1=1 --","bare":"x' OR 1=1 --"},"refused":["db.direct_query: 'id; DROP TABLE user' cannot stand for a name in SQL","db.direct_query: 'id) --' cannot stand for a name in SQL","db.direct_query: '' cannot stand for a name in SQL"]}
function "template" {
  input {
    text name?="Ann"
    text order?="id DESC"
    text column?="label"
    text dir?="desc"
    int[] ids?
    text evil?="x' OR 1=1 --"
  }
  stack {
    function.run fill as $n
    var $table {
      value = "parcel"
    }
    db.direct_query {
      sql = "SELECT id, {{ $input.column }} AS it FROM {{ $var.table }} WHERE qty >= {{ 1 }} AND label LIKE '{{ 'PX' }}%' ORDER BY {{ $input.column }} {{ $input.dir }}"
      parser = "template_engine"
    } as $rows
    db.direct_query {
      sql = """
        SELECT name, '{{ $input.evil }}' AS evil, {{ $input.evil }} AS bare -- {{ $input.evil }}
        FROM user
        WHERE name = '{{ $input.name }}' {% if $input.evil %} AND name <> '{{ $input.evil }}' {% endif %}
          AND id IN ({% for i in [1, 2] %}{{ i }}{% if not loop.last %},{% endif %}{% endfor %})
        LIMIT {{ 1 + 1 }}
      """
      parser = "template_engine"
      response_type = "single"
    } as $user
    var $refused {
      value = []
    }
    foreach (["id; DROP TABLE user", "id) --", ""]) {
      each as $bad {
        try_catch {
          try {
            db.direct_query {
              sql = "SELECT 1 FROM {{ $var.bad }}"
              parser = "template_engine"
            } as $x
          }
          catch {
            array.push $refused {
              value = $error.message
            }
          }
        }
      }
    }
  }
  response = {rows: $rows, user: $user, refused: $refused}
}
