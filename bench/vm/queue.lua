local n = tonumber(arg[1])
local stack, sum = {}, 0
for i = 0, n - 1 do
  stack[#stack + 1] = i
  if i % 3 == 2 then
    sum = sum + table.remove(stack)
  end
end
local queue, first, last = { 0 }, 1, 1
local made, seen = 1, 0
while first <= last do
  local head = queue[first]
  queue[first] = nil
  first = first + 1
  seen = seen + head % 7
  if made < n then
    last = last + 1
    queue[last] = made
    last = last + 1
    queue[last] = made + 1
    made = made + 2
  end
end
local line = table.move(stack, 1, #stack, 1, {})
local order, at = 0, 1
while at <= #stack do
  local x = line[at]
  line[at] = nil
  at = at + 1
  order = (order * 3 + x) % 1000003
end
print(string.format('{"sum":%d,"made":%d,"seen":%d,"order":%d,"left":%d}', sum, made, seen, order, #stack))
