// expect {"i": 0}: {"self":[[1,2],2],"deep":[[[[1,2],3],2],3],"named":[{"v":[{"v":1}]}],"pushed":[1,[1]],"kept":[[9],[1]],"map":{"a":{"a":1}}}
// expect {"i": 1}: {"self":[1,[1,2]],"deep":[[1,[[1,2],3]],3],"named":[{"v":1},{"v":[{"v":1}]}],"pushed":[1,[1]],"kept":[[9],[1]],"map":{"a":{"a":1}}}
function "copies" {
  input {
    int i
  }
  stack {
    var $self { value = [1, 2] }
    var.update $self[$input.i] { value = $self }
    var $deep { value = [[1, 2], 3] }
    var.update $deep[0][$input.i] { value = $deep }
    var $named { value = [{v: 1}] }
    var.update $named[$input.i].v { value = $named }
    var $pushed { value = [1] }
    array.push $pushed { value = $pushed }
    var $row { value = [1] }
    var $rows { value = [$row, $row] }
    var.update $rows[0][0] { value = 9 }
    var $map { value = {a: 1} }
    var.update $map.a { value = $map }
  }
  response = {self: $self, deep: $deep, named: $named, pushed: $pushed, kept: $rows, map: $map}
}
