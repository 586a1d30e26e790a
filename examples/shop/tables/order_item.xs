table order_item {
  auth = false

  schema {
    int id
    int order_id {
      table = "order"
    }

    int product_id {
      table = "product"
    }

    int quantity filters=min:1
    // Of one piece, as it was when the order was placed.
    int price
  }

  index = [
    {type: "primary", field: [{name: "id"}]}
    {type: "btree", field: [{name: "order_id"}]}
  ]
}
