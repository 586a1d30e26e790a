local n = tonumber(arg[1])
local function make(depth)
  if depth == 0 then return { left = nil, right = nil, size = 1 } end
  local left = make(depth - 1)
  local right = make(depth - 1)
  return { left = left, right = right, size = left.size + right.size }
end
local function weigh(tree)
  if tree.left == nil then return 1 end
  local a = weigh(tree.left)
  local b = weigh(tree.right)
  return a + b + tree.size % 3
end
local tree, total = make(n), 0
for round = 1, 4 do total = total + weigh(tree) end
print(total)
