const n = Number(process.argv[2]);
function main() {
  let inside = 0, work = 0;
  for (let row = 0; row < n; row++) {
    const ci = 2.0 * row / n - 1.0;
    for (let col = 0; col < n; col++) {
      const cr = 3.0 * col / n - 2.0;
      let zr = 0, zi = 0, steps = 0;
      while (steps < 50 && zr * zr + zi * zi <= 4.0) {
        const t = zr * zr - zi * zi + cr;
        zi = 2.0 * zr * zi + ci;
        zr = t;
        steps++;
      }
      work += steps;
      if (steps === 50) inside++;
    }
  }
  return { inside, work };
}
console.log(JSON.stringify(main()));
