tool "weigh" {
  description = "The weight of a parcel with its box."
  instructions = "Give the weight of the content in kilograms."
  input {
    decimal content filters=min:0
  }
  stack {
    function.run "ordered" {
      input = {n: 1}
    } as $order
    var $weight {
      value = $input.content + 0.25
    }
  }
  response = {weight: $weight, order: $order.r}
  middleware = {pre: [], post: [{name: "note_tool"}]}
}
