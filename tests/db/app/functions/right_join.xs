// Rows without a main table come last in ascending order and first in descending order.
// expect {}: {"up":["t1","t2","t3",null,null],"down":[null,null,"t3","t2","t1"],"by_name":["t1","t2","t3",null,null]}
function "right_join" {
  input {
  }
  stack {
    function.run fill as $n
    db.query thing {
      join = {parcel: {table: "parcel", type: "right", where: $db.thing.parcel_id == $db.parcel.id}}
    } as $up
    db.query thing {
      join = {parcel: {table: "parcel", type: "right", where: $db.thing.parcel_id == $db.parcel.id}}
      sort = {id: "desc"}
    } as $down
    db.query thing {
      join = {parcel: {table: "parcel", type: "right", where: $db.thing.parcel_id == $db.parcel.id}}
      sort = {name: "asc"}
    } as $by_name
  }
  response = {up: $up.name, down: $down.name, by_name: $by_name.name}
}
