local n = tonumber(arg[1])
local parts, line, lines = {}, "", {}
for i = 0, n - 1 do
  parts[#parts + 1] = "item " .. i .. ";"
  line = line .. "ab"
  if #line >= 40 then
    lines[#lines + 1] = line .. "\n"
    line = ""
  end
end
local s = table.concat(parts)
local joined = table.concat(lines)
print(string.format('{"s":%d,"joined":%d,"tail":"%s","left":"%s"}', #s, #joined, s:sub(-8), line))
