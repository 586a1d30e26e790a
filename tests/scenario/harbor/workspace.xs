workspace harbor {
  description = "Every kind of channel, for the checks of the protocol"
  realtime = {canonical: "harbor"}
}
