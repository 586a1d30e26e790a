// The numbers differ from each other; --seed makes them the same in every run.
workflow_test "chance repeats for a seed" {
  stack {
    security.random_number {
      min = 1
      max = 9007199254740991
    } as $a
    security.random_number {
      min = 1
      max = 9007199254740991
    } as $b
    expect.to_not_equal ($a) { value = $b }
    security.create_uuid as $id
    expect.to_match ($id) { value = "^[0-9a-f-]{36}$" }
  }
}
