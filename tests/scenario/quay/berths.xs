// Everything is kept and acknowledged; the newest three are shown to whoever comes.
channel "berths/{berth_id}" {
  realtime_server = "harbor_master"
  access = {anonymous: true, presence: true}
  publish = {who: "anyone", direct: true}
  conversation = {enabled: true, limit: 3, ttl: 0}
  delivery = {guarantee: "at_least_once"}
  input {
    int berth_id
  }
}
