function "par" {
  input {
    int n
  }
  stack {
    function.run "slow" {
      input = {n: $input.n}
      runtime_mode = "async-shared"
    } as $a
    function.run "slow" {
      input = {n: 10}
      runtime_mode = "async-shared"
    } as $b
    await {
      ids = [$a, $b]
      timeout = 20
    } as $r
    util.post_process {
      stack {
        api.realtime_event {
          channel = "x"
          event = "later"
          data = {}
        }
      }
    }
  }
  response = $r|values

  test "both" {
    input = {n: 1}
    expect.to_equal ($response) { value = [2, 11] }
    expect.to_have_published ("x")
  }
}
