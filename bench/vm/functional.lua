local n = tonumber(arg[1])
local function map(t, f)
  local out = {}
  for i = 1, #t do out[i] = f(t[i]) end
  return out
end
local function filter(t, f)
  local out = {}
  for i = 1, #t do
    local v = t[i]
    if f(v) then out[#out + 1] = v end
  end
  return out
end
local function reduce(t, f, acc)
  for i = 1, #t do acc = f(acc, t[i]) end
  return acc
end
local function find(t, f)
  for i = 1, #t do if f(t[i]) then return t[i] end end
end
local function some(t, f) return find(t, f) ~= nil end
local function every(t, f)
  for i = 1, #t do if not f(t[i]) then return false end end
  return true
end
local list, total = {}, 0
for i = 0, 999 do list[i + 1] = i end
for round = 0, n - 1 do
  local squares = map(list, function(x) return x * x + round end)
  local even = filter(squares, function(x) return x % 2 == 0 end)
  local sum = reduce(even, function(a, x) return a + x end, 0)
  total = (total + sum) % 1000003
  if some(even, function(x) return x > 990000 end) then total = total + 1 end
  if every(even, function(x) return x >= 0 end) then total = total + 2 end
  total = total + find(even, function(x) return x > 500000 end) % 5
end
print(total)
