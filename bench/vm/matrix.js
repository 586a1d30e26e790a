const n = Number(process.argv[2]);
function main() {
  const a = [], b = [];
  for (let i = 0; i < n; i++) {
    const ra = [], rb = [];
    for (let j = 0; j < n; j++) { ra.push(i * 3 + j); rb.push(i - 2 * j); }
    a.push(ra);
    b.push(rb);
  }
  const c = [];
  for (let i = 0; i < n; i++) {
    const row = [];
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let k = 0; k < n; k++) sum += a[i][k] * b[k][j];
      row.push(sum);
    }
    c.push(row);
  }
  let trace = 0;
  for (let i = 0; i < n; i++) trace += c[i][i];
  return { trace, corner: c[0][n - 1] };
}
console.log(JSON.stringify(main()));
