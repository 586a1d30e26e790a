// The last thousand messages are kept for those who have not acknowledged them.
channel "log/{name}" {
  realtime_server = "harbor_master"
  access = {anonymous: true, presence: false}
  publish = {who: "anyone"}
  delivery = {guarantee: "at_least_once"}
  input {
    text name
  }
}
