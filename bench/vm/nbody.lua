local n = tonumber(arg[1])
local sqrt, floor = math.sqrt, math.floor
local bodies = {
  { x = 0.0, y = 0.0, vx = 0.0, vy = 0.0, m = 40.0 },
  { x = 5.0, y = 0.0, vx = 0.0, vy = 2.5, m = 0.04 },
  { x = 0.0, y = 9.0, vx = -2.0, vy = 0.0, m = 0.01 },
  { x = -15.0, y = 0.0, vx = 0.0, vy = -1.5, m = 0.02 },
}
for step = 1, n do
  for i = 1, 4 do
    local b = bodies[i]
    local ax, ay = 0.0, 0.0
    for j = 1, 4 do
      if i ~= j then
        local o = bodies[j]
        local dx, dy = o.x - b.x, o.y - b.y
        local d2 = dx * dx + dy * dy + 0.01
        local f = o.m / (d2 * sqrt(d2))
        ax = ax + dx * f
        ay = ay + dy * f
      end
    end
    b.vx = b.vx + ax * 0.001
    b.vy = b.vy + ay * 0.001
  end
  for i = 1, 4 do
    local b = bodies[i]
    b.x = b.x + b.vx * 0.001
    b.y = b.y + b.vy * 0.001
  end
end
local out = {}
for _, b in ipairs(bodies) do
  out[#out + 1] = floor(b.x * 1000000)
  out[#out + 1] = floor(b.y * 1000000)
end
print("[" .. table.concat(out, ",") .. "]")
