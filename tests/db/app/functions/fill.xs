function "fill" {
  input {
  }
  stack {
    db.bulk.add user {
      items = [
        {email: "ann@x.io", name: "Ann", note: "first"}
        {email: "bob@x.io", name: "Bob"}
      ]
    } as $users
    db.bulk.add parcel {
      items = [
        {label: "PX-1", owner_id: 1, tags: ["a", "b"], nums: [1, 2], meta: {size: 5, deep: {k: "v"}, list: [{k: 1}, {k: 7}]}, weight: 2.5, at: 1767225600000, day: "2026-01-01", v: [1, 0, 0], loc: {type: "point", data: {lng: 12.5, lat: 41.9}}}
        {label: "PX-2", owner_id: 2, qty: 5, tags: ["b"], state: "moving", opt: "hello", at: 1782777600000, meta: {size: "5"}, v: [0, 1, 0], loc: {type: "point", data: {lng: 2.35, lat: 48.85}}}
        {label: "Zürich Straße", owner_id: 1, qty: 7, state: "done", done: true, nums: [2, 3]}
        {label: "100%_x", qty: 0, opt: ""}
      ]
    } as $parcels
    db.bulk.add thing {
      items = [
        {id: "11111111-1111-4111-8111-111111111111", name: "t1", parcel_id: 1}
        {id: "22222222-2222-4222-8222-222222222222", name: "t2", parcel_id: 1}
        {id: "33333333-3333-4333-8333-333333333333", name: "t3", parcel_id: 2}
      ]
      allow_id_field = true
    } as $things
  }
  response = $parcels|count
}
