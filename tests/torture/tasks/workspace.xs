// What tests/torture/tasks.c runs in several processes on one file.
workspace "tasks" {
}
