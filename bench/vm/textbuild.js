const n = Number(process.argv[2]);
function main() {
  let s = "", line = "";
  const lines = [];
  for (let i = 0; i < n; i++) {
    s += "item " + i + ";";
    line += "ab";
    if (line.length >= 40) {
      lines.push(line + "\n");
      line = "";
    }
  }
  const joined = lines.join("");
  return { s: s.length, joined: joined.length, tail: s.slice(-8), left: line };
}
console.log(JSON.stringify(main()));
