const n = Number(process.argv[2]);
function main() {
  let longest = 0, start = 0;
  for (let i = 1; i < n / 4; i++) {
    let x = i, steps = 0;
    while (x !== 1) {
      if (x % 2 === 0) x = Math.trunc(x / 2); else x = 3 * x + 1;
      steps++;
    }
    if (steps > longest) { longest = steps; start = i; }
  }
  let seed = 42n, divisors = 0;
  for (let round = 0; round < n; round++) {
    seed = (seed * 1103515245n + 12345n) % 2147483648n;
    let a = Number(seed) % 1000 + 1, b = round % 997 + 1;
    while (b > 0) { const rest = a % b; a = b; b = rest; }
    divisors += a;
  }
  return { longest, start, seed: Number(seed), divisors };
}
console.log(JSON.stringify(main()));
