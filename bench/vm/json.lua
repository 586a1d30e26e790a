local n = tonumber(arg[1])
local null = {}
local escapes = { ['"'] = '\\"', ['\\'] = '\\\\', ['\b'] = '\\b', ['\f'] = '\\f', ['\n'] = '\\n', ['\r'] = '\\r', ['\t'] = '\\t' }
local function quote(s)
  return '"' .. s:gsub('[%c"\\]', function(c) return escapes[c] or string.format("\\u%04x", c:byte()) end) .. '"'
end
local order = { "id", "name", "tags", "price", "open", "note" }
local function encode(v, out)
  local t = type(v)
  if v == null then
    out[#out + 1] = "null"
  elseif t == "table" then
    if #v > 0 then
      out[#out + 1] = "["
      for i = 1, #v do
        if i > 1 then out[#out + 1] = "," end
        encode(v[i], out)
      end
      out[#out + 1] = "]"
    else
      out[#out + 1] = "{"
      local first = true
      for _, k in ipairs(order) do
        if v[k] ~= nil then
          if not first then out[#out + 1] = "," end
          first = false
          out[#out + 1] = quote(k) .. ":"
          encode(v[k], out)
        end
      end
      out[#out + 1] = "}"
    end
  elseif t == "string" then
    out[#out + 1] = quote(v)
  elseif t == "number" and v == math.floor(v) then
    out[#out + 1] = string.format("%d", v)
  else
    out[#out + 1] = tostring(v)
  end
end
local unescapes = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }
local decode
local function text(s, at)
  local from, to = s:find('^[^"\\]*', at)
  if s:byte(to + 1) == 34 then return s:sub(from, to), to + 2 end
  local parts = {}
  while true do
    parts[#parts + 1] = s:sub(from, to)
    at = to + 1
    local c = s:sub(at, at)
    if c == '"' then return table.concat(parts), at + 1 end
    local e = s:sub(at + 1, at + 1)
    if e == "u" then
      parts[#parts + 1] = utf8.char(tonumber(s:sub(at + 2, at + 5), 16))
      at = at + 6
    else
      parts[#parts + 1] = unescapes[e] or e
      at = at + 2
    end
    from, to = s:find('^[^"\\]*', at)
  end
end
function decode(s, at)
  at = s:find("%S", at)
  local c = s:byte(at)
  if c == 123 then
    local map = {}
    at = s:find("%S", at + 1)
    if s:byte(at) == 125 then return map, at + 1 end
    while true do
      local key
      key, at = text(s, at + 1)
      at = s:find(":", at, true)
      map[key], at = decode(s, at + 1)
      at = s:find("%S", at)
      if s:byte(at) == 125 then return map, at + 1 end
      at = s:find("%S", at + 1)
    end
  elseif c == 91 then
    local list = {}
    at = s:find("%S", at + 1)
    if s:byte(at) == 93 then return list, at + 1 end
    while true do
      list[#list + 1], at = decode(s, at)
      at = s:find("%S", at)
      if s:byte(at) == 93 then return list, at + 1 end
      at = at + 1
    end
  elseif c == 34 then
    return text(s, at + 1)
  elseif c == 116 then
    return true, at + 4
  elseif c == 102 then
    return false, at + 5
  elseif c == 110 then
    return null, at + 4
  end
  local from, to = s:find("^-?[%d.eE+-]+", at)
  return tonumber(s:sub(from, to)), to + 1
end
local rows = {}
for i = 0, 49 do
  rows[#rows + 1] = { id = i, name = 'room "' .. i .. '"', tags = { "red", "green", "blue" }, price = i * 1.5, open = i % 2 == 0, note = null }
end
local out = {}
encode(rows, out)
local s, sum = table.concat(out), 0
for round = 1, n do
  local data = decode(s, 1)
  for _, row in ipairs(data) do
    if row.open then sum = sum + (row.price + #row.tags) end
  end
  out = {}
  encode(data, out)
  s = table.concat(out)
end
print(string.format('{"sum":%d,"size":%d}', sum, #s))
