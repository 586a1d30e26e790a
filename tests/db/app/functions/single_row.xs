// Statements on one row: defaults, coercion, misses.
// expect {}: {"added":{"id":1,"label":"PX-7","qty":1,"weight":0,"done":false,"state":"queued","meta":null,"tags":[],"nums":[],"owner_id":0,"dims":{},"day":null,"at":null,"v":null,"loc":null,"opt":null},"at41":41,"next":42,"edited":{"qty":3,"label":"PX-7"},"same":3,"patched":{"meta":{"a":1},"state":"moving"},"has":true,"has_not":false,"got":null,"odd":null,"made":43,"changed":43,"left":3}
function "single_row" {
  input {
  }
  stack {
    db.add parcel {
      data = {label: " PX-7 ", owner_id: 0}
    } as $added
    db.add parcel {
      data = {id: 41, label: "b"}
      output = ["id"]
    } as $at41
    db.add parcel {
      data = {id: null, label: "c"}
      output = ["id"]
    } as $next
    db.edit parcel {
      field_name = "id"
      field_value = "1"
      data = {qty: "3", id: 9}
      output = ["qty", "label"]
    } as $edited
    db.patch parcel {
      field_name = "id"
      field_value = 1
      data = {}
      output = ["qty"]
    } as $same
    db.patch parcel {
      field_name = "label"
      field_value = "PX-7"
      data = '{"meta": {"a": 1}, "state": "moving", "unknown": 1}'
      output = ["meta", "state"]
    } as $patched
    db.has parcel {
      field_name = "label"
      field_value = "b"
    } as $has
    db.has parcel {
      field_name = "label"
      field_value = "nobody"
    } as $has_not
    db.get parcel {
      field_name = "id"
      field_value = 999
    } as $got
    db.get parcel {
      field_name = "id"
      field_value = "no number"
    } as $odd
    db.add_or_edit parcel {
      field_name = "label"
      field_value = "d"
      data = {qty: 4}
    } as $made
    db.add_or_edit parcel {
      field_name = "label"
      field_value = "d"
      data = {qty: 5}
    } as $changed
    db.del parcel {
      field_name = "label"
      field_value = "b"
    }
    db.query parcel {
      return = {type: "count"}
    } as $left
  }
  response = {added: $added, at41: $at41.id, next: $next.id, edited: $edited, same: $same.qty, patched: $patched, has: $has, has_not: $has_not, got: $got, odd: $odd, made: $made.id, changed: $changed.id, left: $left}
}
