query "orders" verb=GET {
  api_group = "orders"
  input {
  }
  stack {
    db.query order as $orders
  }
  response = {totals: $orders.total, source: $env.$datasource}
}
