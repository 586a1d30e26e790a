// What the raw requests of tests/http talk to.
workspace "raw" {
}
