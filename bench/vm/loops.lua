local n = tonumber(arg[1])
local count, diagonal = 0, 0
for i = 0, n - 1 do
  for j = 0, n - 1 do
    count = count + 1
    for k = 0, 3 do
      if k == j then diagonal = diagonal + i end
    end
  end
end
print(string.format('{"count":%d,"diagonal":%d}', count, diagonal))
