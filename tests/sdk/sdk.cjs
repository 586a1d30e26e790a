// sdk.cjs - what an application does with the SDK, against xs serve behind TLS.
// usage: node sdk.cjs XS APP WORK_DIR
"use strict";
const { execFileSync } = require("node:child_process");
const { readFileSync } = require("node:fs");
const { createRequire } = require("node:module");
const assert = require("node:assert/strict");
const net = require("node:net");
const tls = require("node:tls");
const { start, stop } = require("./server.cjs");

const [xs, app, work] = process.argv.slice(2);
const load = createRequire(work + "/");
const WebSocketClient = load("ws");
const KEY = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const LIMIT_MS = 15000;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// ---- server and terminator ----

let server = null;
const pipes = new Set(); // {client, upstream}

async function startServer(extra = []) {
  server = await start(xs, app, ["--auth-secret", KEY, "--realtime-expiry-warning-ms", "1000", ...extra]);
}

const terminator = tls.createServer(
  { key: readFileSync(work + "/key.pem"), cert: readFileSync(work + "/cert.pem") },
  (client) => {
    const upstream = net.connect(server.port, "127.0.0.1");
    const pipe = { client, upstream };
    pipes.add(pipe);
    client.pipe(upstream);
    upstream.pipe(client);
    const end = () => {
      pipes.delete(pipe);
      client.destroy();
      upstream.destroy();
    };
    for (const socket of [client, upstream]) socket.on("error", end).on("close", end);
  }
);

// The SDK knows port 443 only.
const opened = [];
globalThis.WebSocket = class extends WebSocketClient {
  constructor(url, protocols) {
    assert.match(url, /^wss:\/\/127\.0\.0\.1\/rt\/harbor$/);
    const to = url.replace("127.0.0.1", "127.0.0.1:" + terminator.address().port);
    super(to, protocols, { ca: readFileSync(work + "/cert.pem") });
    opened.push(this);
    this.addEventListener("close", (e) => (this.closedWith = e.code));
  }
};

// ---- applications: the SDK keeps one socket per module instance ----

class App {
  constructor(token) {
    for (const name of Object.keys(load.cache)) if (name.includes("js-sdk")) delete load.cache[name];
    const { XanoNodeClient } = load("@xano/js-sdk");
    this.client = new XanoNodeClient({
      instanceBaseUrl: "https://127.0.0.1:9/",
      realtimeConnectionCanonical: "harbor",
      realtimeAuthToken: token || undefined,
    });
    this.frames = [];
    this.errors = [];
  }
  channel(name, options = {}) {
    const channel = this.client.channel(name, options);
    channel.on(
      (frame) => this.frames.push(frame),
      (frame) => this.errors.push(frame)
    );
    return channel;
  }
  // The next frame that matches; those before it are dropped.
  async next(match, list = this.frames) {
    for (const until = Date.now() + LIMIT_MS; Date.now() < until; await pause(5)) {
      while (list.length) {
        const frame = list.shift();
        if (match(frame)) return frame;
      }
    }
    throw new Error("nothing came that matches " + match);
  }
  joined(channel) {
    return this.next((f) => f.action === "join" && f.options.channel === channel);
  }
  error(code) {
    return this.next((f) => f.payload.code === code, this.errors);
  }
  status(what) {
    return this.next((f) => f.action === "connection_status" && f.payload.status === what);
  }
}

const tokens = {};
function token(id, extras, ttl = 3600) {
  return execFileSync(xs, ["token", "mint", app, "--auth-secret", KEY, "--table", "user", "--id", String(id), "--extras",
    JSON.stringify(extras), "--ttl", String(ttl)], { encoding: "utf8" }).trim();
}

// ---- tests ----

const isMessage = (payload) => (f) => f.action === "message" && JSON.stringify(f.payload) === JSON.stringify(payload);

async function talks() {
  const ann = new App(tokens.ann), bob = new App(tokens.bob), guest = new App();
  const a = ann.channel("harbor/north", { history: true, presence: true });
  const ack = await ann.joined("harbor/north");
  assert.deepEqual(ack.payload, { history: [] });
  assert.equal(ack.client.permissions.row_id, 1);
  assert.equal(ack.client.extras.name, "ann");
  assert.ok(tokens.ann.length > 1000);
  const b = bob.channel("harbor/north", { presence: true });
  await bob.joined("harbor/north");
  await bob.next((f) => f.action === "presence_full" && f.payload.presence.length === 2);
  await ann.next((f) => f.action === "presence_update" && f.payload.action === "join");
  const g = guest.channel("harbor/north", { presence: true });
  const guestAck = await guest.joined("harbor/north");
  assert.deepEqual(guestAck.client.permissions, { dbo_id: 0, row_id: 0 });
  await guest.next((f) => f.action === "presence_full");
  assert.equal(g.getPresence().length, 3);
  await ann.next((f) => f.action === "presence_update");
  assert.equal(a.getPresence().length, 3);
  // To everyone, the sender too.
  g.message({ text: "dredger due 14:00 \u{1F6A2}" });
  for (const app of [ann, bob, guest]) await app.next(isMessage({ text: "dredger due 14:00 \u{1F6A2}" }));
  // For logged in members alone.
  a.message("crew only", { authenticated: true });
  await bob.next(isMessage("crew only"));
  // To one socket, found by presence.
  const target = a.getPresence().find((client) => client.permissions.row_id === 2);
  target.message({ slip: 4 });
  const direct = await bob.next(isMessage({ slip: 4 }));
  assert.equal(direct.client.extras.name, "ann");
  // History by question and at a join.
  a.history();
  const history = await ann.next((f) => f.action === "history");
  assert.deepEqual(history.payload.history.map((entry) => entry.payload), [
    { text: "dredger due 14:00 \u{1F6A2}" },
    "crew only",
  ]);
  assert.ok(!guest.frames.some(isMessage("crew only")) && !ann.frames.some(isMessage({ slip: 4 })));
  target.history(); // what that socket said: nothing public
  assert.deepEqual((await ann.next((f) => f.action === "history")).payload.history, []);
  // A second channel on the open socket: one membership, one announcement.
  const again = ann.channel("harbor/south", { presence: true, history: true });
  await ann.joined("harbor/south");
  const b2 = bob.channel("harbor/south", { presence: true });
  await bob.next((f) => f.action === "presence_full" && f.options.channel === "harbor/south");
  await ann.next((f) => f.action === "presence_update" && f.options.channel === "harbor/south");
  await pause(100);
  assert.equal(again.getPresence().length, 2);
  assert.ok(!ann.frames.some((f) => f.action === "presence_update"));
  assert.equal(opened.filter((socket) => socket.readyState === 1).length, 3);
  // Errors reach the second callback, the connection stays.
  guest.channel("crew");
  const denied = await guest.error("anonymous_join");
  assert.equal(denied.payload.message, "Anonymous clients cannot join this channel.");
  ann.channel("gate:raise");
  assert.equal((await ann.error("join_denied")).payload.message, "The gate is down.");
  ann.channel("nowhere");
  await ann.error("channel_unknown");
  // Triggers replace, refuse and swallow.
  const gate = ann.channel("gate:1");
  await ann.joined("gate:1");
  gate.message("hi");
  await ann.next((f) => f.action === "message" && f.payload.was === "hi");
  gate.message("false");
  await ann.error("message_rejected");
  // An event of the stack.
  await fetch(`http://127.0.0.1:${server.port}/api:harbor/tell`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ channel: "harbor/north", event: "arrived", data: { boat: "Alca" } }),
  });
  const event = await guest.next((f) => f.action === "event");
  assert.deepEqual(event.payload, { data: { boat: "Alca" }, event: "arrived" });
  // Leaving.
  b.destroy();
  await ann.next((f) => f.action === "presence_update" && f.payload.action === "leave");
  assert.equal(a.getPresence().length, 2);
  b2.destroy(); // the last one closes the socket
  g.destroy();
  a.destroy();
  again.destroy();
  gate.destroy();
}

async function queues() {
  const ann = new App(tokens.ann);
  const channel = ann.channel("gate:queue", { queueOfflineActions: true });
  channel.message("first");
  channel.message("second");
  assert.equal((await ann.next((f) => f.action === "message")).payload.was, "first");
  assert.equal((await ann.next((f) => f.action === "message")).payload.was, "second");
  channel.destroy();
}

// Every code after which the SDK comes back, one application each, at the same time.
async function returns(how, mine) {
  const app = new App(mine), name = "harbor/return" + how;
  const channel = app.channel(name, { queueOfflineActions: true, history: true });
  await app.joined(name);
  const socket = opened.find((s) => s.protocol === mine);
  channel.message("before");
  await app.next(isMessage("before"));
  app.frames.length = 0;
  if (how === 4000) {
    app.client.realtimeReconnect(); // the server must echo it
  } else if (how === 1006) {
    socket._socket.destroy();
  } else {
    // The server's own 1011 and 1013 need a broken or overloaded one: the frame is put on the wire for it.
    const pipe = [...pipes].find((p) => p.client.remotePort === socket._socket.localPort);
    pipe.client.write(Buffer.from([0x88, 2, how >> 8, how & 255]));
  }
  await app.status("disconnected");
  assert.equal(socket.closedWith, how);
  const ack = await app.joined(name);
  assert.deepEqual(ack.payload.history.map((entry) => entry.payload), ["before"]);
  channel.message("after");
  await app.next(isMessage("after"));
  channel.destroy();
}

async function expires() {
  const short = token(5, { name: "eve" }, 5), app = new App(short);
  const channel = app.channel("crew");
  await app.joined("crew");
  await app.next((f) => f.action === "auth" && f.payload.state === "expiring");
  await app.error("token_expired");
  await app.status("disconnected");
  const mine = () => opened.filter((socket) => socket.protocol === short);
  assert.deepEqual(mine().map((socket) => socket.closedWith), [4401]);
  await pause(1500);
  assert.equal(mine().length, 1, "it came back");
  channel.destroy();
}

async function restarts() {
  const app = new App(tokens.ann);
  const channel = app.channel("harbor/restart");
  await app.joined("harbor/restart");
  const socket = opened.find((s) => s.readyState === 1);
  await stop(server);
  await startServer();
  await app.status("disconnected");
  assert.equal(socket.closedWith, 1012);
  await app.joined("harbor/restart");
  channel.destroy();
}

async function main() {
  await startServer();
  await new Promise((done) => terminator.listen(0, "127.0.0.1", done));
  tokens.ann = token(1, { name: "ann", pad: "x".repeat(700) });
  tokens.bob = token(2, { name: "bob" });
  await talks();
  await queues();
  const codes = [4000, 1006, 1011, 1012, 1013];
  const back = codes.map((code) => token(code, { name: "back" }));
  await Promise.all(codes.map((code, i) => returns(code, back[i])).concat(expires()));
  await restarts();
  await stop(server);
  console.log(`${opened.length} sockets, all as expected`);
}

main().then(
  () => process.exit(0),
  (problem) => {
    console.error(problem);
    server?.process.kill("SIGKILL");
    process.exit(1);
  }
);
