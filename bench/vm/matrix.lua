local n = tonumber(arg[1])
local a, b = {}, {}
for i = 0, n - 1 do
  local ra, rb = {}, {}
  for j = 0, n - 1 do
    ra[#ra + 1] = i * 3 + j
    rb[#rb + 1] = i - 2 * j
  end
  a[#a + 1] = ra
  b[#b + 1] = rb
end
local c = {}
for i = 1, n do
  local row = {}
  for j = 1, n do
    local sum = 0
    for k = 1, n do
      sum = sum + a[i][k] * b[k][j]
    end
    row[#row + 1] = sum
  end
  c[#c + 1] = row
end
local trace = 0
for i = 1, n do trace = trace + c[i][i] end
print(string.format('{"trace":%d,"corner":%d}', trace, c[1][n]))
