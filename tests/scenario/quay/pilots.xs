// Each recipient gets what the trigger makes of it.
channel "pilots" {
  realtime_server = "harbor_master"
  access = {anonymous: false, presence: false}
  publish = {who: "authenticated"}
  delivery = {guarantee: "at_least_once", per_recipient: true}
}
