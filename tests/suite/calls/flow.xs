workflow_test "a mock for every caller" {
  tags = ["calls"]
  clock = "2026-03-01"
  stack {
    function.call "ordered" {
      input = {n: 2}
    } as $o
    expect.to_equal ($o.r) { value = 7 }
    expect.to_equal ($o.at) { value = now }
    expect.to_be_null ($auth.id)
  }
}
