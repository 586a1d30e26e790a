const n = Number(process.argv[2]);
function main() {
  const a = [], b = [];
  let seed = 3;
  for (let i = 0; i < n; i++) {
    seed = (seed * 75 + 74) % 65537;
    a.push(seed % 7);
    seed = (seed * 75 + 74) % 65537;
    b.push(seed % 7);
  }
  const t = [];
  for (let i = 0; i <= n; i++) t.push(new Array(n + 1).fill(0));
  for (let i = 1; i <= n; i++)
    for (let j = 1; j <= n; j++) {
      if (a[i - 1] === b[j - 1]) t[i][j] = t[i - 1][j - 1] + 1;
      else if (t[i - 1][j] >= t[i][j - 1]) t[i][j] = t[i - 1][j];
      else t[i][j] = t[i][j - 1];
    }
  const best = new Array(2001).fill(0);
  for (let item = 0; item < 100; item++) {
    const weight = item * 7 % 31 + 5, gain = item * 13 % 47 + 1;
    for (let room = n; room >= weight; room--) {
      const withItem = best[room - weight] + gain;
      if (withItem > best[room]) best[room] = withItem;
    }
  }
  return { lcs: t[n][n], knapsack: best[n] };
}
console.log(JSON.stringify(main()));
