// Parentheses make the steps behind them read null; what they hold is read by its own rules.
// expect {"n": 0}: error ERROR_FATAL
// expect {"n": 1}: null
// expect {"n": 2}: error ERROR_FATAL
// expect {"n": 3}: error ERROR_FATAL
// expect {"n": 4}: 7
// expect {"n": 5}: null
// expect {"n": 6}: null
// expect {"n": 7}: error ERROR_FATAL
// expect {"n": 8}: [null]
// expect {"n": 9}: error ERROR_FATAL
// expect {"n": 10}: null
// expect {"n": 11}: error ERROR_FATAL
function "missing_steps" {
  input {
    int n
  }
  stack {
    var $a { value = {b: {}, list: [{}]} }
    var $out { value = "?" }
    switch ($input.n) {
      case (0) {
        var $out { value = ($a.zzz) }
      } break
      case (1) {
        var $out { value = ($a.b).zzz.yyy }
      } break
      case (2) {
        var $out { value = ($a.zzz).yyy }
      } break
      case (3) {
        var $out { value = `$a.zzz` }
      } break
      case (4) {
        var $out { value = ($a.zzz).yyy ?? 7 }
      } break
      case (5) {
        var $out { value = (($a.zzz).yyy)|first_notnull:null }
      } break
      case (6) {
        var $out { value = ($a.list)[3].name }
      } break
      case (7) {
        var $out { value = ($a.zzz)[0].name }
      } break
      case (8) {
        var $out { value = $a.list|map:($$.zzz) }
      } break
      case (9) {
        var $out { value = $a.list|map:($a.zzz).yyy }
      } break
      case (10) {
        var $out { value = ($a.list|first).zzz }
      } break
      case (11) {
        conditional {
          if ($a.zzz) {
            var $out { value = 1 }
          }
        }
      } break
    }
  }
  response = $out
}
