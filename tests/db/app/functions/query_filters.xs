// expect {}: {"row":{"year":2026,"ny_hour":19,"ny_day":31,"off":2,"week":1,"dow":4,"doy":1,"day":20454,"month_on":1769904000000,"hour_off":1767222000000,"by_zero":null,"half":0.5,"round":2.51,"low":"px-1","part":"1","cat":"-x","co":"none","len":2,"metres":111195,"cos":1,"l2":1.414,"size":5},"covers":[1,0,1],"near":[2],"june":[2],"vectors":[{"id":2,"d":1},{"id":1,"d":0}],"l1":[1]}
function "query_filters" {
  input {
  }
  stack {
    function.run fill as $n
    db.query parcel {
      where = $db.parcel.id == 1
      eval = {
        year: $db.parcel.at|timestamp_year
        ny_hour: $db.parcel.at|timestamp_hour:"America/New_York"
        ny_day: $db.parcel.at|timestamp_day_of_month:"America/New_York"
        off: $db.parcel.at|timestamp_hour:"+02:00"
        week: $db.parcel.at|timestamp_week
        dow: $db.parcel.at|timestamp_day_of_week
        doy: $db.parcel.at|timestamp_day_of_year
        day: $db.parcel.at|timestamp_epoch_day
        month_on: $db.parcel.at|timestamp_add_months:1
        hour_off: $db.parcel.at|timestamp_subtract_hours
        by_zero: $db.parcel.qty|div:0
        half: $db.parcel.qty|div:2
        round: $db.parcel.weight|mul:1.005|round
        low: $db.parcel.label|to_lower
        part: $db.parcel.label|substr:-1:1
        cat: $db.parcel.opt|concat:"x":"-"
        co: $db.parcel.opt|coalesce:"none"
        len: $db.parcel.tags|length
        metres: $db.parcel.loc|distance:{type: "point", data: {lng: 12.5, lat: 42.9}}|round:0
        cos: $db.parcel.v|cosine_distance:[0, 0, 0]
        l2: $db.parcel.v|l2_distance_euclidean:[0, 1, 0]|round:3
        size: $db.parcel.meta.size
      }
      output = ["year", "ny_hour", "ny_day", "off", "week", "dow", "doy", "day", "month_on", "hour_off", "by_zero", "half", "round", "low", "part", "cat", "co", "len", "metres", "cos", "l2", "size"]
      return = {type: "single"}
    } as $row
    db.add area {
      data = {name: "square", shape: {type: "poly", data: [[{lng: 0, lat: 0}, {lng: 10, lat: 0}, {lng: 10, lat: 10}, {lng: 0, lat: 10}], [{lng: 4, lat: 4}, {lng: 6, lat: 4}, {lng: 6, lat: 6}, {lng: 4, lat: 6}]]}}
    }
    db.query area {
      where = $db.area.shape|covers:{type: "point", data: {lng: 1, lat: 9}}
      return = {type: "count"}
    } as $inside
    db.query area {
      where = $db.area.shape|covers:{type: "point", data: {lng: 5, lat: 5}}
      return = {type: "count"}
    } as $hole
    db.query area {
      where = $db.area.shape|covers:{type: "point", data: {lng: 10, lat: 5}}
      return = {type: "count"}
    } as $edge
    db.query parcel {
      where = $db.parcel.loc|within:{type: "point", data: {lng: 2.3, lat: 48.8}}:10000
      output = ["id"]
    } as $near
    db.query parcel {
      where = $db.parcel.at >= ("2026-01-15"|to_timestamp) && ($db.parcel.at|timestamp_month) == 6
      output = ["id"]
    } as $june
    db.query parcel {
      eval = {d: $db.parcel.v|inner_product:[0, 1, 0]}
      sort = {d: "desc"}
      where = $db.parcel.v != null
      output = ["id", "d"]
    } as $vectors
    db.query parcel {
      where = ($db.parcel.v|l1_distance_manhattan:[1, 0, 0]) < 1
      output = ["id"]
    } as $l1
  }
  response = {row: $row, covers: [$inside, $hole, $edge], near: $near.id, june: $june.id, vectors: $vectors, l1: $l1.id}
}
