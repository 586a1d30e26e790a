// The lines of an order with the names of the products.
addon "order_lines" {
  input {
    int order_id
  }

  stack {
    db.query "order_item" {
      join = {
        product: {
          table: "product"
          where: $db.order_item.product_id == $db.product.id
        }
      }
      where = $db.order_item.order_id == $input.order_id
      sort = {id: "asc"}
      eval = {name: $db.product.name}
      return = {type: "list"}
      output = ["product_id", "name", "quantity", "price"]
    }
  }
}
