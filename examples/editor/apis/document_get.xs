query "documents/{document_id}" verb=GET {
  api_group = "docs"
  auth = "user"

  input {
    int document_id
  }

  stack {
    db.get "document" {
      field_name = "id"
      field_value = $input.document_id
    } as $document

    precondition ($document != null) {
      error_type = "notfound"
      error = "No such document"
    }

    db.query "document_op" {
      where = $db.document_op.document_id == $input.document_id
      sort = {version: "asc"}
      output = ["version", "user_id", "operation"]
    } as $ops
  }

  response = $document|set:"operations":$ops
}
