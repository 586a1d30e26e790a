local n = tonumber(arg[1])
local inside, work = 0, 0
for row = 0, n - 1 do
  local ci = 2.0 * row / n - 1.0
  for col = 0, n - 1 do
    local cr = 3.0 * col / n - 2.0
    local zr, zi, steps = 0.0, 0.0, 0
    while steps < 50 and zr * zr + zi * zi <= 4.0 do
      local t = zr * zr - zi * zi + cr
      zi = 2.0 * zr * zi + ci
      zr = t
      steps = steps + 1
    end
    work = work + steps
    if steps == 50 then inside = inside + 1 end
  end
end
print(string.format('{"inside":%d,"work":%d}', inside, work))
