workspace quay {
  description = "A realtime server for several nodes"
  realtime = {canonical: "quay"}
}
