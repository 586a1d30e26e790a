workspace triggers {
  realtime = {canonical: "triggers"}
}
