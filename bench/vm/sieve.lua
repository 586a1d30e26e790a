local n = tonumber(arg[1])
local prime = {}
for i = 0, n do prime[i] = true end
local p = 2
while p * p <= n do
  if prime[p] then
    local m = p * p
    while m <= n do
      prime[m] = false
      m = m + p
    end
  end
  p = p + 1
end
local count, last = 0, 0
local i = 2
while i <= n do
  if prime[i] then
    count = count + 1
    last = i
  end
  i = i + 1
end
print(string.format('{"count":%d,"last":%d}', count, last))
