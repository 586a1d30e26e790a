const n = Number(process.argv[2]);
function main() {
  const word = "the quick brown fox jumps over the lazy dog";
  let vowels = 0, hits = 0, found = 0;
  for (let i = 0; i < n; i++) {
    const pos = i % 40;
    const piece = word.substr(pos, 3);
    if (piece.includes("o")) hits++;
    found += word.indexOf(piece);
    for (let j = 0; j < piece.length; j++) {
      const c = piece.substr(j, 1);
      if (c === "a" || c === "e" || c === "i" || c === "o" || c === "u") vowels++;
    }
    if (word.startsWith(piece) || piece.toUpperCase() === "DOG") hits += 100;
  }
  return { vowels, hits, found };
}
console.log(JSON.stringify(main()));
