local n = tonumber(arg[1])
local seed, numbers, rows = 11, {}, {}
for i = 0, n - 1 do
  seed = (seed * 75 + 74) % 65537
  numbers[#numbers + 1] = seed
  rows[#rows + 1] = { id = i, score = seed % 1000 }
end
local hand = table.move(numbers, 1, math.min(800, n), 1, {})
for i = 2, #hand do
  local key, j = hand[i], i - 1
  while j >= 1 and hand[j] > key do
    hand[j + 1] = hand[j]
    j = j - 1
  end
  hand[j + 1] = key
end
local sorted = table.move(numbers, 1, n, 1, {})
table.sort(sorted)
local check = 0
for at, x in ipairs(sorted) do check = (check + x * at) % 1000003 end
table.sort(rows, function(a, b) return a.score < b.score end)
local scores = 0
for at, row in ipairs(rows) do scores = (scores + row.score * at) % 1000003 end
print(string.format('{"first":%d,"last":%d,"check":%d,"scores":%d}', hand[1], hand[#hand], check, scores))
