// deflate.cjs - permessage-deflate with the client of the npm package ws. usage: node deflate.cjs XS APP WORK_DIR
"use strict";
const { createRequire } = require("node:module");
const assert = require("node:assert/strict");
const { start, stop } = require("./server.cjs");

const [xs, app, work] = process.argv.slice(2);
const WebSocket = createRequire(work + "/")("ws");
const LIMIT_MS = 15000;
let server = null;

// A client that has joined log:a; next() gives its frames one by one.
async function connect(perMessageDeflate) {
  const socket = new WebSocket(`ws://127.0.0.1:${server.port}/rt/harbor`, { perMessageDeflate });
  const frames = [];
  let wake = () => {};
  socket.on("message", (data) => {
    frames.push(JSON.parse(data));
    wake();
  });
  socket.closed = new Promise((done) => socket.on("close", done));
  await new Promise((done, fail) => {
    socket.on("open", done);
    socket.on("error", fail);
  });
  socket.next = async () => {
    while (!frames.length) await new Promise((done) => (wake = done));
    return frames.shift();
  };
  socket.send(JSON.stringify({ action: "join", options: { channel: "log:a" } }));
  assert.equal((await socket.next()).action, "join");
  return socket;
}

async function tell(data) {
  const answer = await fetch(`http://127.0.0.1:${server.port}/api:harbor/tell`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ channel: "log:a", event: "e", data }),
  });
  assert.equal(answer.status, 200);
}

const ping = (pad) => JSON.stringify({ action: "ping", pad });

async function main() {
  const options = { threshold: 0, clientMaxWindowBits: 12, serverNoContextTakeover: true };
  server = await start(xs, app, []);
  let socket = await connect(options);
  assert.equal(socket.extensions, "", "off unless it is asked for");
  socket.close();
  await socket.closed;
  await stop(server);

  server = await start(xs, app, ["--realtime-ws-deflate"]);
  const packed = await connect(options);
  assert.equal(packed.extensions, "permessage-deflate");
  const other = await connect(true);
  const plain = await connect(false);
  assert.equal(plain.extensions, "");
  const small = await connect({ serverMaxWindowBits: 9 });
  assert.equal(small.extensions, "", "one frame for all has the largest window");
  const all = [packed, other, plain, small];
  for (const size of [1, 500, 900, 1024, 8000, 60000]) {
    const data = { text: "ship ahoy ".repeat(size / 10 + 1).slice(0, size), ö: "\u{1F6A2}" };
    const before = all.map((s) => s._socket.bytesRead);
    await tell(data);
    for (const s of all) {
      const frame = await s.next();
      assert.deepEqual(frame.payload.data, data);
    }
    const took = all.map((s, i) => s._socket.bytesRead - before[i]);
    const packs = size >= 1024;
    for (const i of [0, 1]) assert.equal(took[i] < size / 4, packs && took[i] < took[2], `${size}: ${took}`);
    if (packs) assert.ok(took[0] === took[1] && took[0] < 500 && took[2] > size && took[3] === took[2], `${took}`);
  }
  // What does not get smaller goes as it is.
  const noise = { text: require("node:crypto").randomBytes(3000).toString("latin1") };
  await tell(noise);
  for (const s of all) assert.deepEqual((await s.next()).payload.data, noise);
  // Client to server, also in fragments; each message stands for itself.
  for (let i = 0; i < 20; i++) {
    packed.send(ping("tide ".repeat(i * 20)));
    assert.equal((await packed.next()).action, "pong");
  }
  const text = ping("in pieces ".repeat(400));
  packed.send(text.slice(0, 1000), { fin: false });
  packed.send(text.slice(1000, 3000), { fin: false });
  packed.send(text.slice(3000), { fin: true });
  assert.equal((await packed.next()).action, "pong");
  plain.send(ping("plain"));
  assert.equal((await plain.next()).action, "pong");
  // Bombs and messages over the limit.
  other.send(ping("0".repeat(60000)));
  assert.equal(await other.closed, 1009, "more than a hundredfold");
  const big = await connect(options);
  const words = () => Math.random().toString(36).slice(2);
  big.send(ping(Array.from({ length: 12000 }, words).join("")));
  assert.equal(await big.closed, 1009, "larger than realtime.max_message");
  const wrong = await connect(options);
  wrong._socket.write(Buffer.from([0xc1, 0x84, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]));
  assert.equal(await wrong.closed, 1007, "no deflate stream");
  const control = await connect(options);
  control._socket.write(Buffer.from([0xc9, 0x80, 0, 0, 0, 0]));
  assert.equal(await control.closed, 1002, "control frames are never compressed");
  packed.send(ping("still here"));
  assert.equal((await packed.next()).action, "pong");
  for (const s of [packed, plain, small]) s.terminate();
  await stop(server);
}

const limit = setTimeout(() => {
  console.error("deflate: too slow");
  server?.process.kill("SIGKILL");
  process.exit(1);
}, LIMIT_MS * 2);
main().then(
  () => clearTimeout(limit),
  (error) => {
    console.error(error);
    server?.process.kill("SIGKILL");
    process.exit(1);
  },
);
