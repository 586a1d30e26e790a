local n = tonumber(arg[1])
local longest, start = 0, 0
local i = 1
while i < n / 4 do
  local x, steps = i, 0
  while x ~= 1 do
    if x % 2 == 0 then x = x // 2 else x = 3 * x + 1 end
    steps = steps + 1
  end
  if steps > longest then longest, start = steps, i end
  i = i + 1
end
local seed, divisors = 42, 0
for round = 0, n - 1 do
  seed = (seed * 1103515245 + 12345) % 2147483648
  local a, b = seed % 1000 + 1, round % 997 + 1
  while b > 0 do
    a, b = b, a % b
  end
  divisors = divisors + a
end
print(string.format('{"longest":%d,"start":%d,"seed":%d,"divisors":%d}', longest, start, seed, divisors))
