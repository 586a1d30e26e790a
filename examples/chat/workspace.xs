workspace chat {
  description = "Rooms, messages and presence"
  realtime = {canonical: "chat"}
}
