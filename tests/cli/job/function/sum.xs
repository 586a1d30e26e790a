function "sum" {
  input {
    int[] list
    text who
  }
  stack {
    var $s { value = 0 }
    foreach ($input.list) {
      each as $x {
        math.add $s { value = $x }
      }
    }
    db.query "log" {
      return = {type: "count"}
    } as $n
  }
  response = {sum: $s, who: $input.who, rows: $n}
}
