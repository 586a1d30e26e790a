// Addons of many rows run once for all their inputs.
// expect {}: {"rows":[{"id":1,"n":2,"any":true,"last":{"label":"t2!"},"things":[{"name":"t2","siblings":2},{"name":"t1","siblings":2}],"by_size":null},{"id":2,"n":1,"any":true,"last":{"label":"t3!"},"things":[{"name":"t3","siblings":1}],"by_size":null},{"id":3,"n":0,"any":false,"last":null,"things":[],"by_size":null},{"id":4,"n":0,"any":false,"last":null,"things":[],"by_size":null}],"one":{"name":"t1","parcel_id":1,"n":2},"inside":[2,1,1,0]}
function "addons" {
  input {
  }
  stack {
    function.run fill as $n
    db.query parcel {
      output = ["id"]
      return = {type: "list"}
      addon = [
        {name: "thing_count", input: {parcel_id: $output.id}, as: "n"}
        {name: "has_things", input: {parcel_id: $output.id}, as: "any"}
        {name: "last_thing", input: {parcel_id: $output.id, suffix: "!"}, output: ["label"], as: "last"}
        {name: "things", input: {parcel_id: $output.id}, output: ["name"], as: "things", addon: [
          {name: "thing_count", input: {parcel_id: $output.parcel_id}, as: "siblings"}
        ]}
        {name: "owner", input: {id: $output.meta.size}, as: "by_size", output: ["id"]}
      ]
    } as $rows
    db.query thing {
      where = $db.thing.name == "t1"
      return = {type: "single"}
      output = ["name", "parcel_id"]
      addon = [
        {name: "thing_count", input: {parcel_id: $output.parcel_id}, as: "n"}
      ]
    } as $one
    db.transaction {
      stack {
        db.add thing {
          data = {name: "t4", parcel_id: 3}
        } as $t
        db.query parcel {
          output = ["id"]
          addon = [
            {name: "thing_count", input: {parcel_id: $output.id}, as: "n"}
          ]
        } as $inside
      }
    }
  }
  response = {rows: $rows, one: $one, inside: $inside.n}
}
