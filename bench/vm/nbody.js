const n = Number(process.argv[2]);
function main() {
  const bodies = [
    { x: 0.0, y: 0.0, vx: 0.0, vy: 0.0, m: 40.0 },
    { x: 5.0, y: 0.0, vx: 0.0, vy: 2.5, m: 0.04 },
    { x: 0.0, y: 9.0, vx: -2.0, vy: 0.0, m: 0.01 },
    { x: -15.0, y: 0.0, vx: 0.0, vy: -1.5, m: 0.02 },
  ];
  for (let step = 0; step < n; step++) {
    for (let i = 0; i < 4; i++) {
      const b = bodies[i];
      let ax = 0, ay = 0;
      for (let j = 0; j < 4; j++) {
        if (i !== j) {
          const o = bodies[j];
          const dx = o.x - b.x, dy = o.y - b.y;
          const d2 = dx * dx + dy * dy + 0.01;
          const f = o.m / (d2 * Math.sqrt(d2));
          ax += dx * f;
          ay += dy * f;
        }
      }
      b.vx += ax * 0.001;
      b.vy += ay * 0.001;
    }
    for (const b of bodies) {
      b.x += b.vx * 0.001;
      b.y += b.vy * 0.001;
    }
  }
  return bodies.flatMap((b) => [Math.floor(b.x * 1000000), Math.floor(b.y * 1000000)]);
}
console.log(JSON.stringify(main()));
