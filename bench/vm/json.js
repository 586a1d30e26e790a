const n = Number(process.argv[2]);
function main() {
  const rows = [];
  for (let i = 0; i < 50; i++)
    rows.push({ id: i, name: `room "${i}"`, tags: ["red", "green", "blue"], price: i * 1.5, open: i % 2 === 0, note: null });
  let text = JSON.stringify(rows), sum = 0;
  for (let round = 0; round < n; round++) {
    const data = JSON.parse(text);
    for (const row of data) if (row.open) sum += row.price + row.tags.length;
    text = JSON.stringify(data);
  }
  return { sum, size: text.length };
}
console.log(JSON.stringify(main()));
