// What staff says is shown to customers without the internal part: the deliver trigger sees every recipient.
channel "staff" {
  realtime_server = "shop"
  publish = {who: "authenticated"}
  delivery = {per_recipient: true}
}
