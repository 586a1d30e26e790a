// What tests/db/external.c asks: SQL of the request on the server of the request.
workspace "pg" {
}
