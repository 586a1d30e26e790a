local n = tonumber(arg[1])
local a, b, seed = {}, {}, 3
for i = 1, n do
  seed = (seed * 75 + 74) % 65537
  a[i] = seed % 7
  seed = (seed * 75 + 74) % 65537
  b[i] = seed % 7
end
local t = {}
for i = 0, n do
  local row = {}
  for j = 0, n do row[j] = 0 end
  t[i] = row
end
for i = 1, n do
  for j = 1, n do
    if a[i] == b[j] then
      t[i][j] = t[i - 1][j - 1] + 1
    elseif t[i - 1][j] >= t[i][j - 1] then
      t[i][j] = t[i - 1][j]
    else
      t[i][j] = t[i][j - 1]
    end
  end
end
local best = {}
for i = 0, 2000 do best[i] = 0 end
for item = 0, 99 do
  local weight, gain = item * 7 % 31 + 5, item * 13 % 47 + 1
  for room = n, weight, -1 do
    local with = best[room - weight] + gain
    if with > best[room] then best[room] = with end
  end
end
print(string.format('{"lcs":%d,"knapsack":%d}', t[n][n], best[n]))
