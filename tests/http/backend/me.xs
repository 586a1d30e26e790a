query "auth/me" verb=GET {
  api_group = "plain"
  auth = "courier"

  stack {
    db.get courier {
      field_name = "id"
      field_value = $auth.id
    } as $courier
  }

  response = $courier
}
