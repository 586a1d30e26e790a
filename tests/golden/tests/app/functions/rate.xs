function "rate" {
  input {
    text? coupon?
  }
  stack {
    conditional {
      if ($input.coupon == "half") {
        return { value = 50 }
      }
      elseif ($input.coupon == "third") {
        return { value = 33 }
      }
    }
  }
  response = 0
}
