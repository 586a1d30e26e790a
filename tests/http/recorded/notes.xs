query "notes" verb=GET {
  api_group = "recorded"

  input {
    text q?
  }

  stack {
    db.query note {
      where = $db.note.text ==? $input.q
    } as $notes
  }

  response = $notes
}
