local n = tonumber(arg[1])
local rows, cities = {}, { "oslo", "rome", "bern", "kyiv", "lima" }
for i = 0, n - 1 do
  rows[#rows + 1] = { id = i, city = cities[i % 5 + 1], age = i * 37 % 90, name = "user " .. i }
end
local by_city, order = {}, {}
for _, r in ipairs(rows) do
  if r.age >= 18 and r.city ~= "lima" then
    local entry = by_city[r.city]
    if not entry then
      entry = { count = 0, ages = 0, names = {} }
      by_city[r.city] = entry
      order[#order + 1] = r.city
    end
    entry.count = entry.count + 1
    entry.ages = entry.ages + r.age
    entry.names[#entry.names + 1] = r.name:upper()
  end
end
local summary = {}
for _, city in ipairs(order) do
  local e = by_city[city]
  local item = { city = city, mean = math.floor(e.ages / e.count) }
  for k, v in pairs({ first = e.names[1], last = e.names[#e.names], n = e.count }) do item[k] = v end
  summary[#summary + 1] = item
end
local adults = {}
for _, r in ipairs(rows) do
  if r.age >= 18 then adults[#adults + 1] = r end
end
local ids = {}
for i, r in ipairs(adults) do ids[i] = r.id end
local sum = 0
for _, id in ipairs(ids) do sum = sum + id end
local out = {}
for _, item in ipairs(summary) do
  out[#out + 1] = string.format('{"city":"%s","mean":%d,"first":"%s","last":"%s","n":%d}',
    item.city, item.mean, item.first, item.last, item.n)
end
print(string.format('{"summary":[%s],"adults":%d,"sum":%d}', table.concat(out, ","), #adults, sum))
