// Gives the pieces back to the shelves.
function "cancel_order" {
  input {
    int order_id
  }

  stack {
    db.query "order_item" {
      where = $db.order_item.order_id == $input.order_id
    } as $lines

    foreach ($lines) {
      each as $line {
        db.increment "product" {
          field_name = "stock"
          value = $line.quantity
          where = $db.product.id == $line.product_id
        }
      }
    }

    db.edit "order" {
      field_name = "id"
      field_value = $input.order_id
      data = {status: "cancelled"}
    } as $order
  }

  response = $order
}
