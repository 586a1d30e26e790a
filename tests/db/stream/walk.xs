// A hundred thousand rows in 4 MB of memory: a stream holds a few of them at a time, a list all.
// expect {"type": "stream"}: {"n":100000,"last":{"id":100000,"name":"row number 100000","_kind":{"name":"even"}},"kinds":{"even":50000,"odd":50000}}
// expect {"type": "list"}: error ERROR_FATAL
// expect {"type": "again"}: "Stream already consumed."
// expect {"type": "json"}: [{"id":1},{"id":2},{"id":3}]
// expect {"type": "write"}: [3,[1,2,3,4,5,6]]
// expect {"type": "transaction"}: ["a","b"]
// expect {"type": "empty"}: 0
// expect {"type": "break"}: 7
// expect {"type": "addon"}: [{"id":1,"_things":["row number 2"]},{"id":2,"_things":["row number 1","row number 3"]}]
// expect {"type": "function"}: [[1,2,3],[1,2,3]]
function "walk" {
  input {
    text type
  }
  stack {
    var $big { value = ["stream", "list", "break"]|contains:$input.type }
    db.bulk.add "kind" {
      items = [{name: "even"}, {name: "odd"}]
    } as $kinds
    db.direct_query {
      sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) INSERT INTO thing(name, kind_id) SELECT 'row number ' || i, 1 + i % 2 FROM n"
      arg = $big ? 100000 : 3
      response_type = "list"
    } as $ignored
    var $n { value = 0 }
    var $last { value = null }
    var $counts { value = {even: 0, odd: 0} }
    switch ($input.type) {
      case ("stream") {
        db.query "thing" {
          return = {type: "stream"}
          output = ["id", "name"]
          addon = [
            {name: "kind_card", input: {kind_id: $output.kind_id}, output: ["name"], as: "_kind"}
          ]
        } as $rows
        foreach ($rows) {
          each as $row {
            math.add $n { value = 1 }
            var $last { value = $row }
            var.update $counts { value = $counts|set:$row._kind.name:(($counts|get:$row._kind.name) + 1) }
          }
        }
        return {
          value = {n: $n, last: $last, kinds: $counts}
        }
      }
      case ("list") {
        db.query "thing" {
          return = {type: "list"}
        } as $rows
        return {
          value = $rows|count
        }
      }
      case ("again") {
        db.query "thing" {
          return = {type: "stream"}
        } as $rows
        foreach ($rows) {
          each as $row {
          }
        }
        try_catch {
          try {
            foreach ($rows) {
              each as $row {
                math.add $n { value = 1 }
              }
            }
          }
          catch {
            return {
              value = $error.message
            }
          }
        }
      }
      case ("json") {
        db.query "thing" {
          return = {type: "stream"}
          output = ["id"]
        } as $rows
        return {
          value = $rows
        }
      }
      case ("write") {
        // rows written meanwhile are not seen by a stream that has begun
        db.query "thing" {
          return = {type: "stream"}
        } as $rows
        foreach ($rows) {
          each as $row {
            math.add $n { value = 1 }
            db.add "thing" {
              data = {name: "copy of " ~ $row.name, kind_id: 1}
            } as $copy
          }
        }
        db.query "thing" {
          return = {type: "list"}
        } as $all
        return {
          value = [$n, $all|map:$$.id]
        }
      }
      case ("transaction") {
        // its own rows are there
        db.transaction {
          stack {
            db.truncate "thing"
            db.bulk.add "thing" {
              items = [{name: "a"}, {name: "b"}]
            } as $ignored
            db.query "thing" {
              return = {type: "stream"}
            } as $rows
            var $names { value = [] }
            foreach ($rows) {
              each as $row {
                array.push $names { value = $row.name }
              }
            }
          }
        }
        return {
          value = $names
        }
      }
      case ("empty") {
        db.query "thing" {
          where = $db.thing.id > 1000000
          return = {type: "stream"}
        } as $rows
        foreach ($rows) {
          each as $row {
            math.add $n { value = 1 }
          }
        }
        return {
          value = $n
        }
      }
      case ("addon") {
        // in an addon it is a list
        db.query "kind" {
          return = {type: "list"}
          output = ["id"]
          addon = [{name: "things", input: {kind_id: $output.id}, as: "_things"}]
        } as $all
        return {
          value = $all|map:{id: $$.id, _things: $$._things|map:$$.name}
        }
      }
      case ("function") {
        // a cached function gives a stream each time
        var $ids { value = [] }
        for (2) {
          each as $i {
            var $own { value = [] }
            function.run "stream_of_things" as $rows
            foreach ($rows) {
              each as $row {
                array.push $own { value = $row.id }
              }
            }
            array.push $ids { value = $own }
          }
        }
        return {
          value = $ids
        }
      }
      case ("break") {
        db.query "thing" {
          return = {type: "stream"}
        } as $rows
        foreach ($rows) {
          each as $row {
            math.add $n { value = 1 }
            conditional {
              if ($n == 7) {
                break
              }
            }
          }
        }
        return {
          value = $n
        }
      }
    }
  }
  response = null
}
