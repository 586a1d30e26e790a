workflow_test "a tool is called like a function" {
  tags = ["calls"]
  stack {
    tool.call "weigh" {
      input = {content: 1.5}
    } as $w
    expect.to_equal ($w.weight) { value = 1.75 }
    expect.to_equal ($w.noted) { value = true }
    expect.to_throw {
      stack {
        tool.call "weigh" {
          input = {content: -1}
        } as $no
      }
    }
  }
}
