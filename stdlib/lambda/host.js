// host.js - runs requests of stdlib/lambda/lambda.c: 4 bytes of length (big endian) and JSON each way, on descriptor 3.
'use strict';
const fs = require('fs'), vm = require('vm');

function readExactly(n) {
  const b = Buffer.alloc(n);
  for (let at = 0; at < n;) {
    let got = 0;
    try {
      got = fs.readSync(3, b, at, n - at, null);
    } catch (e) {
      if (e.code !== 'EAGAIN' && e.code !== 'EINTR') process.exit(0);
      continue;
    }
    if (got === 0) process.exit(0);
    at += got;
  }
  return b;
}

function answer(text) {
  const body = Buffer.from(text), head = Buffer.alloc(4);
  head.writeUInt32BE(body.length);
  const all = Buffer.concat([head, body]);
  for (let at = 0; at < all.length;) at += fs.writeSync(3, all, at);
}

// Everything below this line of a request runs inside the context: no object from here gets in, only the text of the request.
const PRELUDE = `
const { JSON: J, Object: O, String: S, Array: A } = globalThis;
const q = J.parse(__request);
delete globalThis.__request;
globalThis.console = { log() {}, info() {}, warn() {}, error() {}, debug() {} };
const done = (s) => { O.defineProperty(globalThis, '__out', { value: s }); };
const good = (v) => { const t = J.stringify(v); done('{"ok":' + (t === undefined ? 'null' : t) + '}'); };
const bad = (e) => { let m; try { m = S(e && e.message !== undefined ? e.message : e); } catch { m = 'unknown error'; } done(J.stringify({ error: m })); };
const each = async (f) => {
  const l = q.list, n = l.length, out = [];
  let acc = q.result;
  for (let i = 0; i < n; i++) {
    const v = await f(l[i], i, l, acc);
    switch (q.mode) {
      case 'map': out.push(v === undefined ? null : v); break;
      case 'filter': if (v) out.push(l[i]); break;
      case 'some': if (v) return true; break;
      case 'every': if (!v) return false; break;
      case 'find': if (v) return l[i]; break;
      case 'findIndex': if (v) return i; break;
      default: acc = v === undefined ? null : v;
    }
  }
  return { map: out, filter: out, some: false, every: true, find: null, findIndex: -1 }[q.mode] ?? (q.mode === 'reduce' ? acc : null);
};
(async () => {
  const f = (t, i, p, r) => __f(t, i, p, r, q.var, q.input, q.auth, q.env);
  return q.mode === 'run' ? f(q.this, null, null, null) : each(f);
})().then(good).catch(bad);
`;

function run(text) {
  const context = vm.createContext(Object.create(null), { microtaskMode: 'afterEvaluate', codeGeneration: { wasm: false } });
  const { code, ms } = JSON.parse(text);
  const timeout = Math.max(1, ms | 0);
  const options = { timeout, filename: 'lambda', displayErrors: false };
  context.__request = text;
  try {
    vm.runInContext('globalThis.__f = async ($this, $index, $parent, $result, $var, $input, $auth, $env) => {\n' + code + '\n};', context, options);
    vm.runInContext(PRELUDE, context, options);
    const out = vm.runInContext('globalThis.__out', context, options);
    return typeof out === 'string' ? out : '{"error":"the code did not end"}';
  } catch (e) {
    if (e && e.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT') return '{"timeout":true}';
    let message = 'the code failed';
    try { message = String(e.message); } catch { /* keep it */ }
    return JSON.stringify({ error: message });
  }
}

for (;;) {
  const n = readExactly(4).readUInt32BE();
  answer(run(readExactly(n).toString()));
}
