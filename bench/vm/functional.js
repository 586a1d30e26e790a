const n = Number(process.argv[2]);
function main() {
  const list = Array.from({ length: 1000 }, (_, i) => i);
  let total = 0;
  for (let round = 0; round < n; round++) {
    const squares = list.map((x) => x * x + round);
    const even = squares.filter((x) => x % 2 === 0);
    const sum = even.reduce((a, x) => a + x, 0);
    total = (total + sum) % 1000003;
    if (even.some((x) => x > 990000)) total += 1;
    if (even.every((x) => x >= 0)) total += 2;
    total += even.find((x) => x > 500000) % 5;
  }
  return total;
}
console.log(JSON.stringify(main()));
