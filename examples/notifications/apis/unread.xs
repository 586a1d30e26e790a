query "notifications" verb=GET {
  api_group = "inbox"
  auth = "user"

  input {
    int page?=1 filters=min:1
    int per_page?=20 filters=min:1|max:100
  }

  stack {
    db.query "notification" {
      where = $db.notification.user_id == $auth.id && $db.notification.read == false
      sort = {id: "desc"}
      return = {type: "list", paging: {page: $input.page, per_page: $input.per_page, totals: true}}
    } as $unread
  }

  response = $unread
}
