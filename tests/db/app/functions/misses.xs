// expect {"case": "edit"}: error ERROR_CODE_NOT_FOUND
// expect {"case": "del"}: error ERROR_CODE_NOT_FOUND
// expect {"case": "null"}: error ERROR_CODE_INPUT_ERROR
// expect {"case": "field"}: error ERROR_CODE_INPUT_ERROR
// expect {"case": "enum"}: error ERROR_CODE_INPUT_ERROR
// expect {"case": "type"}: error ERROR_CODE_INPUT_ERROR
// expect {"case": "vector"}: error ERROR_CODE_INPUT_ERROR
// expect {"case": "unique"}: {"message":"Duplicate record detected.","code":"ERROR_FATAL","result":{"table":"user","fields":["email"]}}
// expect {"case": "patch"}: error ERROR_CODE_NOT_FOUND
// expect {"case": "bulk_del"}: error ERROR_CODE_INPUT_ERROR
function "misses" {
  input {
    text case
  }
  stack {
    switch ($input.case) {
      case ("edit") {
        db.edit user {
          field_name = "id"
          field_value = 4
          data = {name: "x"}
        } as $x
      } break
      case ("del") {
        db.del user {
          field_name = "id"
          field_value = 4
        }
      } break
      case ("null") {
        db.get user {
          field_name = "id"
          field_value = null
        } as $x
      } break
      case ("field") {
        var $f {
          value = "id; DROP TABLE user"
        }
        db.get user {
          field_name = $f
          field_value = 1
        } as $x
      } break
      case ("enum") {
        db.add parcel {
          data = {label: "a", state: "lost"}
        } as $x
      } break
      case ("type") {
        db.add parcel {
          data = {label: "a", qty: "many"}
        } as $x
      } break
      case ("vector") {
        db.add parcel {
          data = {label: "a", v: [1, 0]}
        } as $x
      } break
      case ("unique") {
        db.add user {
          data = {email: "a@x.io"}
        } as $x
        try_catch {
          try {
            db.add user {
              data = {email: " A@X.io"}
            } as $y
          }
          catch {
            return {
              value = {message: $error.message, code: $error.code, result: $error.result}
            }
          }
        }
      } break
      case ("patch") {
        db.bulk.patch user {
          items = [{id: 8, name: "x"}]
        } as $x
      } break
      case ("bulk_del") {
        db.bulk.delete user {
          where = $db.user.name ==? null
        } as $x
      } break
    }
  }
  response = null
}
