workspace editor {
  description = "Documents that several people edit at once"
  realtime = {canonical: "editor"}
}
