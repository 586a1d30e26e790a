function "names" {
  input {
    integer count
    text label filters=trimm
  }
  stack {
    db.gett "user" {
      field_value = 1
    }
    var $x {
      valeu = 1
    }
    precondition ($input.labell == "a") {
      error_typ = "notfound"
    }
    function.run "nmaes" {
      input = {count: 1}
    }
  }
  response = $x|to_uper
}
