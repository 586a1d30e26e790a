const n = Number(process.argv[2]);
function main() {
  let count = 0, diagonal = 0;
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++) {
      count++;
      for (let k = 0; k < 4; k++) if (k === j) diagonal += i;
    }
  return { count, diagonal };
}
console.log(JSON.stringify(main()));
