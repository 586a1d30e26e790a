// expect {}: {"no_id":3,"with_id":99,"patched":["A","D"],"replaced":{"id":2,"label":"new","qty":1,"state":"queued","tags":[],"owner_id":0},"counted":3,"gone":1,"grown":[{"id":3,"qty":12}],"weighed":3,"users":4,"first":1,"things":0,"dims":["w","unit"],"cols":["id","created_at","email","password","name","note"],"email":{"name":"email","type":"email","nullable":false,"default":null,"required":true,"access":"public","style":{"type":"single"},"description":""}}
function "sets" {
  input {
  }
  stack {
    function.run fill as $n
    db.bulk.add user {
      items = [{id: 99, email: "c@x.io"}]
    } as $no_id
    db.bulk.add user {
      items = [{id: 99, email: "d@x.io"}]
      allow_id_field = true
    } as $with_id
    db.bulk.patch user {
      items = [{id: 1, name: "A"}, {id: 99, name: "D"}]
    } as $patched
    db.bulk.update parcel {
      items = [{id: 2, label: "new"}]
    } as $replaced
    db.bulk.patch parcel {
      where = $db.parcel.state == "queued"
      data = {qty: 50}
    } as $counted
    db.bulk.delete parcel {
      where = $db.parcel.qty >= 50 && $db.parcel.tags contains "a"
    } as $gone
    db.increment parcel {
      where = $db.parcel.id == 3
      field_name = "qty"
      value = 5
      output = ["id", "qty"]
    } as $grown
    db.increment parcel {
      field_name = "weight"
      value = 0.5
      return_type = "count"
    } as $weighed
    try_catch {
      try {
        db.bulk.add user {
          items = [{email: "e@x.io"}, {email: "ann@x.io"}]
        } as $bad
      }
      catch {
        debug.log {
          value = $error.message
        }
      }
    }
    db.query user {
      return = {type: "count"}
    } as $users
    db.truncate thing
    db.truncate parcel {
      reset = true
    }
    db.add parcel {
      data = {label: "again"}
      output = ["id"]
    } as $first
    db.query thing {
      return = {type: "count"}
    } as $things
    db.schema parcel {
      path = "dims"
    } as $dims
    db.schema user as $cols
  }
  response = {no_id: $no_id|first|get:"id", with_id: $with_id|first|get:"id", patched: $patched.name, replaced: $replaced|first|pick:["id", "label", "qty", "state", "owner_id", "tags"], counted: $counted, gone: $gone, grown: $grown, weighed: $weighed, users: $users, first: $first.id, things: $things, dims: $dims|map:$$.name, cols: $cols|map:$$.name, email: $cols|get:"2"}
}
