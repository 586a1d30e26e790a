query "documents" verb=POST {
  api_group = "docs"
  auth = "user"

  input {
    text title filters=trim|min:1|max:200
    text content?=""
  }

  stack {
    db.add "document" {
      data = {title: $input.title, content: $input.content ?? ""}
    } as $document
  }

  response = $document
}
