function "ordered" {
  input {
    int n
  }
  stack {
    security.random_number {
      min = 1
      max = 1000000
      mock = {"a mock for every caller": 7}
    } as $r
    util.sleep { value = 90 }
  }
  response = {r: $r, n: $input.n, at: now}

  test "its clock moves while it sleeps" {
    clock = "2026-01-05 10:00:00"
    input = {n: 1}
    expect.to_equal ($response.at) { value = 1767607290000 }
  }
}
