const n = Number(process.argv[2]);
function main() {
  const prime = [];
  for (let i = 0; i <= n; i++) prime.push(true);
  for (let p = 2; p * p <= n; p++)
    if (prime[p]) for (let m = p * p; m <= n; m += p) prime[m] = false;
  let count = 0, last = 0;
  for (let i = 2; i <= n; i++)
    if (prime[i]) { count++; last = i; }
  return { count, last };
}
console.log(JSON.stringify(main()));
