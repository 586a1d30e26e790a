// expect {}: {"page":{"itemsReceived":2,"curPage":2,"nextPage":null,"prevPage":1,"offset":2,"perPage":2,"itemsTotal":4,"pageTotal":2,"items":[{"id":1,"qty":1},{"id":4,"qty":0}]},"some":{"itemsReceived":3,"nextPage":null,"items":[{"id":2,"label":"PX-2"},{"id":3,"label":"Zürich Straße"},{"id":4,"label":"100%_x"}]},"bare":[],"exists":true,"count":3,"none":null,"joined":[{"id":3,"owner":"Ann","twice":14,"meta":null},{"id":1,"owner":"Ann","twice":2,"meta":{"size":5,"deep":{"k":"v"}}},{"id":2,"owner":"Bob","twice":10,"meta":{"size":"5"}},{"id":4,"owner":null,"twice":0,"meta":null}],"inner":[1,3],"distinct":[0,1,2],"override":[3,2,4,1],"nulls":[[1,2,3,4],[4,3,2,1]],"additional":[1,2,3,4],"addons":[{"id":1,"owner_id":1,"_owner":{"id":1,"name":"Ann"},"sub":{"things":[{"name":"t2"},{"name":"t1"}]}},{"id":2,"owner_id":2,"_owner":{"id":2,"name":"Bob"},"sub":{"things":[{"name":"t3"}]}}],"one_addon":{"label":"PX-1","_owner":{"name":"Ann"}},"groups":[{"state":"done","n":1,"q":7,"l":[3]},{"state":"moving","n":1,"q":5,"l":[2]},{"state":"queued","n":2,"q":1,"l":[4,1]}],"nothing":{"n":0,"q":null,"m":null},"paged_groups":{"itemsReceived":1,"curPage":1,"nextPage":2,"prevPage":null,"offset":0,"perPage":1,"itemsTotal":3,"pageTotal":3,"items":[{"state":"done","n":1}]}}
function "query_shapes" {
  input {
  }
  stack {
    function.run fill as $n
    db.query parcel {
      sort = {qty: "desc"}
      output = ["id", "qty"]
      return = {type: "list", paging: {page: 2, per_page: 2, totals: true}}
    } as $page
    db.query parcel {
      output = ["itemsReceived", "nextPage", "items.id", "label"]
      return = {type: "list", paging: {page: null, per_page: 3, offset: 1}}
    } as $some
    db.query parcel {
      output = ["id"]
      return = {type: "list", paging: {page: 9, per_page: 3, metadata: false}}
    } as $bare
    db.query parcel {
      return = {type: "exists"}
      where = $db.parcel.label == "PX-1"
    } as $exists
    db.query parcel {
      return = {type: "count"}
      where = $db.parcel.qty > 0
    } as $count
    db.query parcel {
      where = $db.parcel.id > 99
      return = {type: "single"}
    } as $none
    db.query parcel {
      join = {
        o: {table: "user", type: "left", where: $db.parcel.owner_id == $db.o.id}
      }
      eval = {owner: $db.o.name, twice: $db.parcel.qty|mul:2}
      sort = {o.name: "asc", id: "desc"}
      output = ["id", "owner", "twice", "meta.size", "meta.deep.k"]
    } as $joined
    db.query parcel {
      join = {
        user: {table: "user", where: $db.parcel.owner_id == $db.user.id && $db.user.name == "Ann"}
      }
      output = ["id"]
    } as $inner
    db.query parcel {
      return = {type: "list", distinct: "yes", select: ["owner_id"]}
      sort = {owner_id: "asc"}
    } as $distinct
    db.query parcel {
      sort = {qty: "asc"}
      override_sort = [{sortBy: "state", orderBy: "asc"}, {sortBy: "id", orderBy: "desc"}]
      output = ["id"]
    } as $override
    db.query parcel {
      sort = {at: "asc"}
      output = ["id"]
    } as $nulls_last
    db.query parcel {
      sort = {at: "desc"}
      output = ["id"]
    } as $nulls_first
    db.query parcel {
      where = $db.parcel.id > 0
      additional_where = {expression: [{statement: {left: {tag: "col", operand: "parcel.state"}, op: "in", right: {operand: ["queued", "moving"]}}}, {or: true, type: "group", group: {expression: [{statement: {left: {tag: "col", operand: "parcel.label"}, op: "ilike", right: {operand: "z%"}}}]}}]}
      output = ["id"]
    } as $additional
    db.query parcel {
      output = ["id", "owner_id"]
      return = {type: "list", paging: {per_page: 2, metadata: true}}
      addon = [
        {name: "owner", input: {id: $output.owner_id}, output: ["id", "name"], as: "items._owner"}
        {name: "things", input: {parcel_id: $output.id}, output: ["name"], as: "items.sub.things"}
      ]
    } as $addons
    db.query parcel {
      where = $db.parcel.id == 1
      return = {type: "single"}
      output = ["label"]
      addon = {_owner: {name: "owner", input: {id: $output.owner_id}, output: ["name"]}}
    } as $one_addon
    db.query parcel {
      return = {type: "aggregate", group: {state: $db.parcel.state}, eval: {n: $db.parcel.id|count, q: $db.parcel.qty|sum, l: $db.parcel.id|to_list_desc}}
    } as $groups
    db.query parcel {
      where = $db.parcel.id > 99
      return = {type: "aggregate", eval: {n: $db.parcel.id|count, q: $db.parcel.qty|sum, m: $db.parcel.qty|median}}
    } as $nothing
    db.query parcel {
      return = {type: "aggregate", group: {state: $db.parcel.state}, eval: {n: $db.parcel.id|count}, paging: {per_page: 1, totals: true}}
    } as $paged_groups
  }
  response = {page: $page, some: $some, bare: $bare, exists: $exists, count: $count, none: $none, joined: $joined, inner: $inner.id, distinct: $distinct.owner_id, override: $override.id, nulls: [$nulls_last.id, $nulls_first.id], additional: $additional.id, addons: $addons.items, one_addon: $one_addon, groups: $groups, nothing: $nothing, paged_groups: $paged_groups}
}
