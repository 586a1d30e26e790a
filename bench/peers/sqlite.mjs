// What a Node program with better-sqlite3 does with the same table: durable inserts one by one and
// 128 per transaction, one row, a list of 20. usage: node sqlite.mjs FILE MILLISECONDS
// better-sqlite3 is found from the working directory; prints one line of JSON.
import { createRequire } from 'node:module';
const [file, ms] = [process.argv[2], Number(process.argv[3] || 2000)];
const Database = createRequire(process.cwd() + '/x.js')('better-sqlite3');
const db = new Database(file);
db.pragma('journal_mode = WAL');
db.pragma('synchronous = FULL');
db.exec(`CREATE TABLE IF NOT EXISTS item (id INTEGER PRIMARY KEY AUTOINCREMENT, created_at INTEGER NOT NULL DEFAULT 0,
  name TEXT NOT NULL DEFAULT '', room_id INTEGER NOT NULL DEFAULT 0, score INTEGER NOT NULL DEFAULT 0) STRICT;
  CREATE INDEX IF NOT EXISTS "item.room_id.created_at" ON item (room_id, created_at DESC)`);
const add = db.prepare('INSERT INTO item (created_at, name, room_id, score) VALUES (?, ?, ?, ?) RETURNING *');
const get = db.prepare('SELECT * FROM item WHERE id = ? ORDER BY id LIMIT 1');
const list = db.prepare('SELECT * FROM item WHERE room_id = ? ORDER BY created_at DESC, id DESC LIMIT 20');
let n = 0;
const one = () => add.get(Date.now(), 'item number ' + n, n % 100, n++);
const many = db.transaction(() => { for (let i = 0; i < 128; i++) one(); });
function rate(fn, per = 1) {
  const cpu = process.cpuUsage(), from = process.hrtime.bigint(), until = from + BigInt(ms) * 1000000n;
  let ops = 0;
  while (process.hrtime.bigint() < until) { fn(); ops += per; }
  const s = Number(process.hrtime.bigint() - from) / 1e9, used = process.cpuUsage(cpu);
  return { per_s: Math.round(ops / s), cpu_us: +((used.user + used.system) / ops).toFixed(2) };
}
const out = { insert: rate(one), insert_128: rate(many, 128) };
const rows = n;
out.get = rate(() => JSON.stringify(get.get(1 + Math.floor(Math.random() * rows))));
out.list = rate(() => JSON.stringify(list.all(Math.floor(Math.random() * 100))));
console.log(JSON.stringify(out));
