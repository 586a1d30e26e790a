const n = Number(process.argv[2]);
function main() {
  const words = "ant bee cat dog eel fox gnu hen ibis jay kite lynx mole newt owl pig".split(" ");
  const counts = {}, buckets = {};
  let seed = 7;
  for (let i = 0; i < n; i++) {
    seed = (seed * 75 + 74) % 65537;
    const word = words[seed % 16];
    if (word in counts) counts[word] += 1;
    else counts[word] = 1;
    const key = "k" + (seed % 5000);
    buckets[key] = (buckets[key] ?? 0) + 1;
  }
  let total = 0;
  for (const k of Object.keys(counts)) total += counts[k];
  return { total, fox: counts.fox, keys: Object.keys(buckets).length, k7: buckets.k7 };
}
console.log(JSON.stringify(main()));
