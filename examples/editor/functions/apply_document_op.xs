// An operation replaces `del` characters at `pos` by the text `ins`. The write is one transaction, so two editors
// that send at once get consecutive versions.
function "apply_document_op" {
  input {
    int document_id
    json operation
    int user_id
  }
  stack {
    db.transaction {
      stack {
        db.get "document" {
          field_name = "id"
          field_value = $input.document_id
          lock = true
        } as $document

        precondition ($document != null) {
          error_type = "notfound"
          error = "No such document"
        }

        var $pos {
          value = $input.operation|get:"pos":0|to_int
        }
        var $del {
          value = $input.operation|get:"del":0|to_int
        }
        var $ins {
          value = $input.operation|get:"ins":""|to_text
        }

        precondition ($pos >= 0 && $del >= 0 && $pos + $del <= ($document.content|strlen)) {
          error_type = "inputerror"
          error = "The operation is outside the document"
        }

        var $content {
          value = ($document.content|substr:0:$pos) ~ $ins ~ ($document.content|substr:($pos + $del))
        }

        db.edit "document" {
          field_name = "id"
          field_value = $document.id
          data = {content: $content, version: $document.version + 1, updated_at: now}
        } as $document

        db.add "document_op" {
          data = {
            document_id: $document.id,
            user_id: $input.user_id,
            version: $document.version,
            operation: $input.operation
          }
        }
      }
    }

    api.realtime_event {
      channel = "document:" ~ $document.id
      event = "content_updated"
      data = {
        updated_by: $input.user_id,
        updated_at: $document.updated_at,
        changes: $input.operation
      }
    }
  }
  response = {version: $document.version, content: $document.content}
}
