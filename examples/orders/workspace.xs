workspace orders {
  description = "Orders that a shop and its customer follow together"
  realtime = {canonical: "orders"}
}
