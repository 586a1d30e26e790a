workspace shop {
  description = "A small shop: accounts, a catalogue, orders"
  realtime = {canonical: "shop"}
}
