workspace "parcels" {
  description = "What tests/http/backend.rt talks to: a whole backend in one folder"
}
