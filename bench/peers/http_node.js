// The API of `xs bench http` on Node's http module and better-sqlite3, with durable commits.
// npm install better-sqlite3@12; node bench/peers/http_node.js PORT FILE.db
'use strict';
const http = require('http');
const Database = require('better-sqlite3');

const db = new Database(process.argv[3] || 'bench-node.db');
db.pragma('journal_mode = WAL');
db.pragma('synchronous = FULL');
db.exec('CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY AUTOINCREMENT, ' +
        'created_at INTEGER NOT NULL, text TEXT NOT NULL) STRICT');
const add = db.prepare('INSERT INTO note (created_at, text) VALUES (?, ?) RETURNING *');
const get = db.prepare('SELECT * FROM note WHERE id = ?');
const list = db.prepare('SELECT * FROM note ORDER BY id DESC LIMIT 20');
const subscribers = [];

function reply(res, status, value) {
  const body = JSON.stringify(value);
  res.writeHead(status, {'Content-Type': 'application/json; charset=utf-8',
                         'Content-Length': Buffer.byteLength(body)});
  res.end(body);
}

const server = http.createServer((req, res) => {
  if (req.method === 'POST') {
    let body = '';
    req.on('data', (part) => { body += part; });
    req.on('end', () => {
      const input = JSON.parse(body);
      if (typeof input.text !== 'string' || !input.text.trim())
        return reply(res, 400, {code: 'ERROR_CODE_INPUT_ERROR', message: 'Missing param: text', payload: ''});
      const note = add.get(Date.now(), input.text.trim());
      const frame = JSON.stringify({action: 'event', payload: note});
      for (const s of subscribers) s.send(frame);
      reply(res, 200, note);
    });
    return;
  }
  if (req.url === '/api:bench/hello') return reply(res, 200, {hello: 'world'});
  if (req.url === '/api:bench/notes') return reply(res, 200, list.all());
  const id = /^\/api:bench\/notes\/(\d+)$/.exec(req.url);
  if (id) return reply(res, 200, get.get(Number(id[1])) || null);
  reply(res, 404, {code: 'ERROR_CODE_NOT_FOUND', message: 'Unable to locate request.', payload: ''});
});
server.keepAliveTimeout = 60000;
server.listen(Number(process.argv[2] || 0), '127.0.0.1',
              () => console.log('listening on ' + server.address().port));
