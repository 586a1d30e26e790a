local n = tonumber(arg[1])
local words = {}
for w in ("ant bee cat dog eel fox gnu hen ibis jay kite lynx mole newt owl pig"):gmatch("%S+") do
  words[#words + 1] = w
end
local counts, buckets, seed = {}, {}, 7
for i = 1, n do
  seed = (seed * 75 + 74) % 65537
  local word = words[seed % 16 + 1]
  if counts[word] then
    counts[word] = counts[word] + 1
  else
    counts[word] = 1
  end
  local key = "k" .. seed % 5000
  buckets[key] = (buckets[key] or 0) + 1
end
local total, keys = 0, 0
for _, c in pairs(counts) do total = total + c end
for _ in pairs(buckets) do keys = keys + 1 end
print(string.format('{"total":%d,"fox":%d,"keys":%d,"k7":%d}', total, counts.fox, keys, buckets.k7))
