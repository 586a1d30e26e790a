// Conditions: each line gives the ids it selects.
// expect {}: {"eq":[2],"eq_null":[1,3],"ne":[2,4],"optional_gone":[1,2,3,4],"optional_list":[1,2,3,4],"optional_kept":[2],"flag":[3],"no_flag":[1,2,4],"in":[1,3],"not_in":[2,4],"in_none":[],"not_in_null":[1,2,3,4],"between":[1,2],"not_between":[3,4],"like":[1,2],"like_case":[],"ilike":[3],"includes":[4],"tags":[1,2],"tags_all":[1],"overlaps":[1,3],"regex":[1,2],"not_regex":[3,4],"json":[1],"json_text":[1,2],"each":[1],"contains_json":[1],"flipped":[2,3],"column":[1],"folded":[],"either":[1,3],"date":[1],"removed_group":[1,2,3,4],"not_removed":[1,2,3,4],"filter":[3],"number_text":[2],"json_more":[1],"json_between":[1],"each_more":[1]}
function "where" {
  input {
    text nothing?
    text[] none?
    text state?="moving"
  }
  stack {
    function.run fill as $n
    db.query parcel {
      where = $db.parcel.label == "PX-2"
    } as $eq
    db.query parcel {
      where = $db.parcel.opt == $input.nothing
    } as $eq_null
    db.query parcel {
      where = $db.parcel.opt != null
    } as $ne
    db.query parcel {
      where = $db.parcel.state ==? $input.nothing
    } as $gone
    db.query parcel {
      where = $db.parcel.state in? $input.none
    } as $gone_list
    db.query parcel {
      where = $db.parcel.state ==? $input.state && $db.parcel.label includes? ""
    } as $kept
    db.query parcel {
      where = $db.parcel.done
    } as $flag
    db.query parcel {
      where = !$db.parcel.done
    } as $no_flag
    db.query parcel {
      where = $db.parcel.state in ["queued", "done"] && $db.parcel.id in [1, 3, 9]
    } as $in
    db.query parcel {
      where = $db.parcel.id not in ["1", 3]
    } as $not_in
    db.query parcel {
      where = $db.parcel.id in $input.none
    } as $in_none
    db.query parcel {
      where = $db.parcel.id not in $input.none
    } as $not_in_null
    db.query parcel {
      where = $db.parcel.qty between 1:5
    } as $between
    db.query parcel {
      where = $db.parcel.qty not between [1, 5]
    } as $not_between
    db.query parcel {
      where = $db.parcel.label like "PX%"
    } as $like
    db.query parcel {
      where = $db.parcel.label like "px%"
    } as $like_case
    db.query parcel {
      where = $db.parcel.label ilike "ZÜRICH STRA%"
    } as $ilike
    db.query parcel {
      where = $db.parcel.label includes "%_"
    } as $includes
    db.query parcel {
      where = $db.parcel.tags contains "b"
    } as $tags
    db.query parcel {
      where = $db.parcel.tags @> ["b", "a"]
    } as $tags_all
    db.query parcel {
      where = $db.parcel.nums overlaps [2, 9]
    } as $overlaps
    db.query parcel {
      where = $db.parcel.label ~ "^PX-[0-9]$"
    } as $regex
    db.query parcel {
      where = $db.parcel.label !~ "^PX"
    } as $not_regex
    db.query parcel {
      where = $db.parcel.meta.size == 5
    } as $json
    db.query parcel {
      where = $db.parcel.meta.size == "5"
    } as $json_text
    db.query parcel {
      where = $db.parcel.meta.list[].k == 7
    } as $each
    db.query parcel {
      where = $db.parcel.meta contains {deep: {k: "v"}}
    } as $contains_json
    db.query parcel {
      where = 2 < $db.parcel.qty
    } as $flipped
    db.query parcel {
      where = $db.parcel.qty == $db.parcel.id
    } as $column
    db.query parcel {
      where = 1 == 2 && $db.parcel.id > 0
    } as $folded
    db.query parcel {
      where = ($db.parcel.label == "PX-1" || $db.parcel.state == "done") && $db.parcel.id > 0
    } as $either
    db.query parcel {
      where = $db.parcel.day >= "2026-01-01T10:00:00Z"
    } as $date
    db.query parcel {
      where = ($db.parcel.label ==? null || $db.parcel.state ==? "")
    } as $removed
    db.query parcel {
      where = !($db.parcel.label ==? null)
    } as $not_removed
    db.query parcel {
      where = ($db.parcel.label|to_upper) == ("zürich straße"|to_upper)
    } as $filter
    db.query parcel {
      where = $db.parcel.qty == "5"
    } as $number_text
    db.query parcel {
      where = $db.parcel.meta.size > 4
    } as $json_more
    db.query parcel {
      where = $db.parcel.meta.size between 5:9 || $db.parcel.meta.deep.k > 0
    } as $json_between
    db.query parcel {
      where = $db.parcel.meta.list[].k > 6
    } as $each_more
    db.query parcel {
      where = $db.parcel.id > 4 || $db.parcel.id in []
    } as $empty
  }
  response = {eq: $eq.id, eq_null: $eq_null.id, ne: $ne.id, optional_gone: $gone.id, optional_list: $gone_list.id, optional_kept: $kept.id, flag: $flag.id, no_flag: $no_flag.id, in: $in.id, not_in: $not_in.id, in_none: $in_none.id, not_in_null: $not_in_null.id, between: $between.id, not_between: $not_between.id, like: $like.id, like_case: $like_case.id, ilike: $ilike.id, includes: $includes.id, tags: $tags.id, tags_all: $tags_all.id, overlaps: $overlaps.id, regex: $regex.id, not_regex: $not_regex.id, json: $json.id, json_text: $json_text.id, each: $each.id, contains_json: $contains_json.id, flipped: $flipped.id, column: $column.id, folded: $folded.id, either: $either.id, date: $date.id, removed_group: $removed.id, not_removed: $not_removed.id, filter: $filter.id, number_text: $number_text.id, json_more: $json_more.id, json_between: $json_between.id, each_more: $each_more.id}
}
