// expect {}: {"both":[1,2],"title":[1],"accent":[3],"or":[2,3,4],"without":[2],"phrase":[2],"all":[1,2,3,4],"no_words":[],"evil":[],"after":[],"birds":1,"zero":[0],"exact":[],"keys":[{"body":"uuid keys work"}],"gone":1}
function "search" {
  input {
    text nothing?
    text evil?="\" OR title:* NOT ('"
  }
  stack {
    db.bulk.add note {
      items = [
        {title: "Running dogs", body: "they ran in the park"}
        {title: "Cats", body: "a dog was running after them"}
        {title: "Café au lait", body: "cream; milk"}
        {title: "Parks and cats", body: "quiet"}
      ]
    } as $notes
    db.query note {
      where = $db.note.words search "run dog"
      eval = {score: $db.note.words|search_rank:"run dog"}
      sort = {score: "desc"}
      output = ["id"]
    } as $both
    db.query note {
      where = $db.note.title search "dog"
    } as $title
    db.query note {
      where = $db.note.words search "cafe"
    } as $accent
    db.query note {
      where = $db.note.words search "cats or milk"
    } as $or
    db.query note {
      where = $db.note.words search "cats -quiet"
    } as $without
    db.query note {
      where = $db.note.words search `'"a dog was"'`
    } as $phrase
    db.query note {
      where = $db.note.words search $input.nothing
    } as $all
    db.query note {
      where = $db.note.words search "!!! --"
    } as $no_words
    db.query note {
      where = $db.note.words search $input.evil
    } as $evil
    db.edit note {
      field_name = "id"
      field_value = 4
      data = {title: "Parks and birds"}
    } as $x
    db.del note {
      field_name = "id"
      field_value = 2
    }
    db.query note {
      where = $db.note.words search "cats"
    } as $after
    db.query note {
      where = $db.note.words search "birds"
      return = {type: "count"}
    } as $birds
    db.query note {
      where = $db.note.id == 1
      eval = {score: $db.note.body|search_rank:"nowhere"}
      output = ["score"]
    } as $zero
    db.add page {
      data = {body: "uuid keys work"}
    } as $p
    db.query page {
      where = $db.page.body search "key"
    } as $exact
    db.query page {
      where = $db.page.body search "KEYS"
      output = ["body"]
    } as $keys
    db.bulk.delete page {
      where = $db.page.search search "uuid"
    } as $gone
  }
  response = {both: $both.id, title: $title.id, accent: $accent.id, or: $or.id, without: $without.id, phrase: $phrase.id, all: $all.id, no_words: $no_words.id, evil: $evil.id, after: $after.id, birds: $birds, zero: $zero.score, exact: $exact, keys: $keys, gone: $gone}
}
