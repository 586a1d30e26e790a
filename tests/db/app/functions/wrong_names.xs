// Names that come at run time are columns or an error, never SQL.
// expect {"case": "sort", "name": "id; --"}: error ERROR_CODE_INPUT_ERROR
// expect {"case": "where", "name": "id; --"}: error ERROR_CODE_INPUT_ERROR
// expect {"case": "increment", "name": "id; --"}: error ERROR_CODE_INPUT_ERROR
// expect {"case": "sort", "name": "user.password"}: error ERROR_CODE_INPUT_ERROR
// expect {"case": "where", "name": "user.password"}: error ERROR_CODE_INPUT_ERROR
// expect {"case": "increment", "name": "user.password"}: error ERROR_CODE_INPUT_ERROR
// expect {"case": "sort", "name": "nobody.id"}: error ERROR_CODE_INPUT_ERROR
// expect {"case": "where", "name": "nobody.id"}: error ERROR_CODE_INPUT_ERROR
// expect {"case": "increment", "name": "nobody.id"}: error ERROR_CODE_INPUT_ERROR
// expect {"case": "sort", "name": "id\" desc; --"}: error ERROR_CODE_INPUT_ERROR
// expect {"case": "where", "name": "id\" desc; --"}: error ERROR_CODE_INPUT_ERROR
// expect {"case": "increment", "name": "id\" desc; --"}: error ERROR_CODE_INPUT_ERROR
function "wrong_names" {
  input {
    text case
    text name?
  }
  stack {
    conditional {
      if ($input.case == "sort") {
        db.query user {
          override_sort = {sortBy: $input.name, orderBy: "desc"}
        } as $x
      }
      elseif ($input.case == "where") {
        db.query user {
          additional_where = {expression: [{statement: {left: {operand: $input.name}, op: "=", right: {operand: 1}}}]}
        } as $x
      }
      else {
        db.increment user {
          field_name = $input.name
        } as $x
      }
    }
  }
  response = $x
}
