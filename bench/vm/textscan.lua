local n = tonumber(arg[1])
local word = "the quick brown fox jumps over the lazy dog"
local vowels, hits, found = 0, 0, 0
for i = 0, n - 1 do
  local pos = i % 40
  local piece = word:sub(pos + 1, pos + 3)
  if piece:find("o", 1, true) then hits = hits + 1 end
  found = found + (word:find(piece, 1, true) - 1)
  local j = 0
  while j < #piece do
    local c = piece:sub(j + 1, j + 1)
    if c == "a" or c == "e" or c == "i" or c == "o" or c == "u" then vowels = vowels + 1 end
    j = j + 1
  end
  if word:sub(1, #piece) == piece or piece:upper() == "DOG" then hits = hits + 100 end
end
print(string.format('{"vowels":%d,"hits":%d,"found":%d}', vowels, hits, found))
