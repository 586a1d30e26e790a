// chat.js - rooms, people, messages and typing over the API of the example and one transport.
"use strict";

const api = "/api:chat/", base = "/rt/chat";
const TYPING_SENT_MS = 2000, TYPING_SHOWN_MS = 3500;
const $ = (id) => document.getElementById(id);
const names = new Map(); // user id -> promise of a name
const typists = new Map(); // user id -> timer
let me, room, connection, lanes = [];
let shown = new Set(); // ids of the messages in the log
let present = new Set(); // user ids
let typed = 0;

async function call(method, path, body) {
  const headers = {"Content-Type": "application/json"};
  if (me) headers.Authorization = "Bearer " + me.authToken;
  const answer = await fetch(api + path, {method, headers, body: body && JSON.stringify(body)});
  const value = await answer.json();
  if (!answer.ok) throw new Error(value.message);
  return value;
}

// ---- people ----

function fetchName(id) {
  if (!names.has(id)) {
    const asked = call("GET", "users/" + id).then((user) => user.name);
    asked.catch(() => names.delete(id));
    names.set(id, asked);
  }
  return names.get(id);
}

// The name of a user as an element, filled in when the answer is there.
function nameOf(id, tag = "b") {
  const element = document.createElement(tag);
  element.textContent = "user " + id;
  fetchName(id).then((name) => { element.textContent = name; }, () => {});
  return element;
}

// Who is in the room, told from who was: several windows of one person are one person.
async function showPeople(quiet) {
  const of = room;
  const {users} = await call("GET", "rooms/" + of.id + "/presence");
  if (room !== of) return;
  const now = new Set(users), tell = (id, what) => { if (!quiet && id !== me.user.id) note([nameOf(id), what]); };
  for (const id of now) if (!present.has(id)) tell(id, " entered");
  for (const id of present) if (!now.has(id)) tell(id, " left");
  present = now;
  $("people").replaceChildren(...[...now].map((id) => nameOf(id, "li")));
}

async function showTyping() {
  const list = await Promise.all([...typists.keys()].map((id) => fetchName(id).catch(() => "somebody")));
  $("typing").textContent = list.length ? list.join(", ") + (list.length > 1 ? " are" : " is") + " typing…" : "";
}

function setTyping(id, on) {
  clearTimeout(typists.get(id));
  typists.delete(id);
  if (on) typists.set(id, setTimeout(() => setTyping(id, false), TYPING_SHOWN_MS));
  showTyping();
}

// ---- the log ----

function add(parts, className, at) {
  const log = $("log"), item = document.createElement("li"), time = document.createElement("time");
  const below = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const when = new Date(at || Date.now());
  item.className = className || "";
  time.dateTime = when.toISOString();
  time.textContent = when.toLocaleTimeString([], {hour: "2-digit", minute: "2-digit"});
  item.append(time, ...[].concat(parts));
  log.append(item);
  if (below) log.scrollTop = log.scrollHeight; // who reads further up is left in peace
}
const note = (parts) => add(parts, "note");

function addMessage(message) {
  if (shown.has(message.id)) return;
  shown.add(message.id);
  add([nameOf(message.sender_id), message.content], message.sender_id === me.user.id ? "mine" : "", message.created_at);
}

async function readRoom() {
  const of = room;
  const past = await call("GET", "rooms/" + of.id + "/messages");
  if (room === of) past.items.reverse().forEach(addMessage);
}

// ---- the connection ----

function onFrame(frame) {
  if (frame.action === "error") return note(frame.payload.message);
  if (frame.action === "join") { // by this transport; what the one before it missed is in the room
    readRoom();
    return showPeople(true); // ourselves among them
  }
  if (frame.action === "auth" && frame.payload.state === "expiring") return note("Your login ends soon.");
  if (frame.action !== "event") return;
  const {event, data} = frame.payload;
  if (event === "new_message") {
    setTyping(data.sender_id, false);
    addMessage(data);
  } else if (event === "typing" && data.user_id !== me.user.id) {
    setTyping(data.user_id, true);
  } else if (event === "user_joined" || event === "user_left") {
    showPeople();
  }
}

function reconnect() {
  const kind = document.querySelector("[name=transport]:checked").value;
  const says = {open: "connected by ", connecting: "connecting by ", refused: "refused by "};
  if (connection) connection.close();
  connection = connect(kind, {
    base, token: me.authToken, channel: "room:" + room.id, onFrame,
    onState: (state) => { $("status").textContent = says[state] + transportNames[kind]; },
    onGap: readRoom,
  });
  compare();
}

// All three at once: a row each, counting what comes and how much later than by the first.
function compare() {
  lanes.forEach((lane) => lane.close());
  lanes = [];
  $("lanes").replaceChildren();
  if (!$("compare").open || !room) return;
  const first = new Map();
  for (const kind of Object.keys(transportNames)) {
    const row = $("lanes").insertRow(), head = document.createElement("th");
    head.scope = "row";
    head.textContent = transportNames[kind];
    row.append(head);
    const [state, count, delay] = [row.insertCell(), row.insertCell(), row.insertCell()];
    count.textContent = 0;
    lanes.push(connect(kind, {
      base, token: me.authToken, channel: "room:" + room.id, onGap() {},
      onState: (now) => { state.textContent = now; },
      onFrame(frame) {
        if (frame.action !== "event" || frame.payload.event !== "new_message") return;
        const now = performance.now(), id = frame.payload.data.id;
        if (!first.has(id)) first.set(id, now);
        count.textContent = Number(count.textContent) + 1;
        delay.textContent = "+" + (now - first.get(id)).toFixed(0) + " ms";
      },
    }));
  }
}

// ---- rooms ----

async function showRooms() {
  const list = await call("GET", "rooms");
  $("rooms").replaceChildren(...list.map((one) => {
    const item = document.createElement("li"), button = document.createElement("button");
    button.type = "button";
    button.textContent = "#" + one.name;
    if (room && one.id === room.id) button.setAttribute("aria-current", "true");
    button.onclick = () => enter(one.name);
    item.append(button);
    return item;
  }));
}

async function enter(name) {
  room = await call("POST", "rooms", {name});
  shown = new Set();
  [...typists.keys()].forEach((id) => setTyping(id, false));
  $("log").replaceChildren();
  $("people").replaceChildren();
  present = new Set();
  $("title").textContent = "#" + room.name;
  document.title = "#" + room.name + " – xs chat";
  location.hash = encodeURIComponent(room.name);
  await Promise.all([readRoom(), showRooms()]);
  reconnect();
  $("text").focus();
}

// ---- what people do ----

$("login").onsubmit = async (submit) => {
  submit.preventDefault();
  try {
    me = await call("POST", "login", {name: new FormData(submit.target).get("name")});
    $("door").hidden = true;
    $("app").hidden = false;
    await enter(decodeURIComponent(location.hash.slice(1)) || "lobby");
  } catch (problem) {
    me = undefined;
    $("door").hidden = false;
    $("app").hidden = true;
    $("refusal").textContent = problem.message;
  }
};

$("make").onsubmit = (submit) => {
  submit.preventDefault();
  enter(submit.target.elements.name.value).catch((problem) => note(problem.message));
  submit.target.reset();
};

$("send").onsubmit = (submit) => {
  submit.preventDefault();
  const content = $("text").value;
  connection.send({action: "message", options: {channel: "room:" + room.id}, payload: {event: "say", data: {content}}});
  $("text").value = "";
  typed = 0;
};

$("text").oninput = () => {
  if (!$("text").value || Date.now() - typed < TYPING_SENT_MS) return;
  typed = Date.now();
  connection.send({action: "message", options: {channel: "room:" + room.id}, payload: {event: "typing", data: {}}});
};

window.addEventListener("pagehide", () => connection && connection.close());
$("transports").onchange = reconnect;
$("compare").ontoggle = compare;
// Up and down walk through the rooms.
$("rooms").onkeydown = (key) => {
  const step = {ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1}[key.key];
  const all = [...$("rooms").querySelectorAll("button")], at = all.indexOf(document.activeElement);
  if (!step || at < 0) return;
  key.preventDefault();
  all[(at + step + all.length) % all.length].focus();
};
