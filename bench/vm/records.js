const n = Number(process.argv[2]);
function main() {
  const rows = [], cities = ["oslo", "rome", "bern", "kyiv", "lima"];
  for (let i = 0; i < n; i++)
    rows.push({ id: i, city: cities[i % 5], age: i * 37 % 90, name: "user " + i });
  const byCity = {};
  for (const r of rows) {
    if (r.age >= 18 && r.city !== "lima") {
      const entry = byCity[r.city] ??= { count: 0, ages: 0, names: [] };
      entry.count += 1;
      entry.ages += r.age;
      entry.names.push(r.name.toUpperCase());
    }
  }
  const summary = [];
  for (const city of Object.keys(byCity)) {
    const e = byCity[city];
    const item = { city, mean: Math.floor(e.ages / e.count) };
    Object.assign(item, { first: e.names[0], last: e.names[e.names.length - 1], n: e.count });
    summary.push(item);
  }
  const adults = rows.filter((r) => r.age >= 18);
  const ids = adults.map((r) => r.id);
  let sum = 0;
  for (const id of ids) sum += id;
  return { summary, adults: adults.length, sum };
}
console.log(JSON.stringify(main()));
