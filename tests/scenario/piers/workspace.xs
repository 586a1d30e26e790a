workspace piers {
  description = "Channels of a realtime server, for the checks of its protocol"
  realtime = {canonical: "piers"}
}
