const n = Number(process.argv[2]);
function main() {
  let seed = 11;
  const numbers = [], rows = [];
  for (let i = 0; i < n; i++) {
    seed = (seed * 75 + 74) % 65537;
    numbers.push(seed);
    rows.push({ id: i, score: seed % 1000 });
  }
  const hand = numbers.slice(0, 800);
  for (let i = 1; i < hand.length; i++) {
    const key = hand[i];
    let j = i - 1;
    while (j >= 0 && hand[j] > key) { hand[j + 1] = hand[j]; j--; }
    hand[j + 1] = key;
  }
  const sorted = numbers.slice().sort((a, b) => a - b);
  let check = 0;
  sorted.forEach((x, at) => { check = (check + x * (at + 1)) % 1000003; });
  let scores = 0;
  rows.slice().sort((a, b) => a.score - b.score)
    .forEach((row, at) => { scores = (scores + row.score * (at + 1)) % 1000003; });
  return { first: hand[0], last: hand[hand.length - 1], check, scores };
}
console.log(JSON.stringify(main()));
