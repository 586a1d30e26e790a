// Any channel exists; what becomes of slow clients the options of the test say.
workspace slow {
  realtime = {canonical: "slow"}
}
