// chat.cjs - two people in the chat example: Ann at a desk, Bob on a phone.
// usage: node chat.cjs XS APP DIR CHROMIUM. Pictures and the database end up in DIR.
"use strict";
const {spawn} = require("node:child_process");
const assert = require("node:assert/strict");
const path = require("node:path");
const {chromium} = require("playwright-core");

const [xs, app, dir, executablePath] = process.argv.slice(2);
const WAIT_MS = 10000;
const names = {ws: "WebSocket", sse: "SSE", lp: "long-poll"};

function serve() {
  const server = spawn(xs, ["serve", app, "--public", path.join(app, "public"), "--db", path.join(dir, "chat.db"),
    "--listen", "127.0.0.1:0", "--drain-ms", "200", "--log-level", "warning"],
    {stdio: ["ignore", "pipe", "inherit"], env: {...process.env, XS_REALTIME_SSE_GRACE_MS: "0", XS_REALTIME_LP_GRACE_MS: "0"}});
  return new Promise((done, fail) => {
    let out = "";
    server.on("exit", () => fail(new Error("the server ended: " + out)));
    server.stdout.on("data", (data) => {
      out += data;
      const at = out.match(/listening on (http:\/\/\S+)/);
      if (at) done({server, url: at[1]});
    });
  });
}

// Until fn(arg) holds in the page.
const until = (page, what, fn, arg) => page.waitForFunction(fn, arg, {timeout: WAIT_MS, polling: 30})
  .catch(() => page.evaluate(() => document.body.innerText)
    .then((text) => assert.fail(what + " did not happen; the page says:\n" + text)));

const texts = (page, selector) => page.$$eval(selector, (all) => all.map((one) => one.textContent));
const says = (page, text) => until(page, "a message '" + text + "'",
  (t) => [...document.querySelectorAll("#log li")].some((li) => li.textContent.includes(t)), text);
const status = (page, text) => until(page, "status " + text,
  (t) => document.getElementById("status").textContent === t, text);
const people = (page, list) => until(page, "people " + list,
  (want) => [...document.querySelectorAll("#people li")].map((li) => li.textContent).sort().join() === want, list.join());

async function login(browser, url, name, options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(WAIT_MS);
  page.problems = [];
  page.on("pageerror", (error) => page.problems.push(String(error)));
  page.on("console", (line) => line.type() === "error" && page.problems.push(line.text()));
  await page.goto(url);
  assert.equal(await page.evaluate(() => document.activeElement.name), "name", "the name field has the focus");
  await page.keyboard.type(name);
  await page.keyboard.press("Enter");
  await status(page, "connected by WebSocket");
  return page;
}

async function say(page, text) {
  await page.fill("#text", text);
  await page.press("#text", "Enter");
}

async function choose(page, kind) {
  await page.click(`label:has([name=transport][value=${kind}])`);
  await status(page, "connected by " + names[kind]);
}

// ---- accessibility: what a screen reader and a keyboard find ----

async function check_names(page, who) {
  const cdp = await page.context().newCDPSession(page);
  const {nodes} = await cdp.send("Accessibility.getFullAXTree");
  const seen = nodes.filter((node) => !node.ignored).map((node) => ({role: node.role.value, name: node.name ? node.name.value : ""}));
  const named = ["button", "textbox", "radio", "link", "checkbox", "combobox", "navigation", "log", "group", "list", "table"];
  // Lists inside the log and of rooms stand under the name of what holds them.
  for (const node of seen)
    if (named.includes(node.role) && !["list", "table", "group"].includes(node.role))
      assert.notEqual(node.name, "", `${who}: a ${node.role} has no name`);
  const roles = seen.map((node) => node.role);
  for (const role of ["main", "navigation", "complementary", "banner", "log", "status", "heading", "radio"])
    assert.ok(roles.includes(role), `${who}: nothing has the role ${role}`);
  assert.equal(roles.filter((role) => role === "main").length, 1, `${who}: one main`);
  await cdp.detach();
}

async function check_markup(page, who) {
  const wrong = await page.evaluate(() => {
    const out = [], ids = new Set();
    if (!document.documentElement.lang) out.push("no language");
    if (!document.title) out.push("no title");
    for (const one of document.querySelectorAll("[id]")) {
      if (ids.has(one.id)) out.push("id " + one.id + " twice");
      ids.add(one.id);
    }
    for (const one of document.querySelectorAll("[aria-labelledby]"))
      if (!document.getElementById(one.getAttribute("aria-labelledby"))) out.push("aria-labelledby without its element");
    let level = 0;
    for (const one of document.querySelectorAll("h1,h2,h3")) {
      if (!one.checkVisibility()) continue;
      const now = Number(one.tagName[1]);
      if (now > level + 1) out.push(one.tagName + " behind level " + level);
      level = now;
    }
    if (document.querySelector("[tabindex]:not([tabindex='0']):not([tabindex='-1'])")) out.push("a tabindex above 0");
    return out;
  });
  assert.deepEqual(wrong, [], who);
}

// WCAG AA: 4.5 to 1 for text as it is drawn, opacity and tints counted.
async function check_contrast(page, who) {
  const weak = await page.evaluate(() => {
    const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    const rgba = (color) => {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = color;
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
      return [r, g, b, a / 255];
    };
    const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
    const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
      .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const base = rgba(getComputedStyle(document.documentElement).colorScheme.includes("dark") &&
      matchMedia("(prefers-color-scheme: dark)").matches ? "#121212" : "#fff");
    const out = [];
    for (const one of document.querySelectorAll("body *")) {
      const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
      if (!own || !one.checkVisibility() || one.closest(".skip,legend")) continue;
      const chain = [];
      for (let at = one; at; at = at.parentElement) chain.unshift(getComputedStyle(at));
      let ground = base, opacity = 1;
      for (const style of chain) {
        ground = over(rgba(style.backgroundColor), ground);
        opacity *= Number(style.opacity);
      }
      const ink = rgba(chain[chain.length - 1].color);
      ink[3] *= opacity;
      const [a, b] = [light(over(ink, ground)), light(ground)].sort((x, y) => y - x);
      const ratio = (a + 0.05) / (b + 0.05);
      if (ratio < 4.5) out.push(`${one.tagName} "${one.textContent.trim().slice(0, 20)}" ${ratio.toFixed(2)}`);
    }
    return out;
  });
  assert.deepEqual(weak, [], who + ": too little contrast");
}

// The stops of the Tab key in their order, from the top of the page.
async function check_tab_order(page) {
  const stops = [];
  await page.evaluate(() => { // the order begins at the top
    document.body.tabIndex = -1;
    document.body.focus();
    document.body.removeAttribute("tabindex");
  });
  for (let i = 0; i < 12; i++) {
    await page.keyboard.press("Tab");
    const stop = await page.evaluate(() => {
      const one = document.activeElement;
      if (one === document.body) return null;
      const ring = getComputedStyle(one).outlineStyle !== "none";
      return {what: one.getAttribute("aria-label") || one.value || one.textContent.trim(), ring};
    });
    if (!stop) break;
    assert.ok(stop.ring, `the focus on "${stop.what}" does not show`);
    stops.push(stop.what);
  }
  const want = ["Skip to the message field", "ws", "#harbor", "#lobby", "New room", "Make or enter the room", "Messages",
    "Message", "Send", "Transports side by side"];
  assert.deepEqual(stops.slice(0, want.length), want);
  await page.evaluate(() => document.querySelector(".skip").focus());
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "text", "the skip link leads to the message field");
}

// Nothing sticks out, and what is to be touched is large enough.
async function check_phone(page) {
  const facts = await page.evaluate(() => ({
    wide: document.documentElement.scrollWidth - innerWidth,
    high: document.documentElement.scrollHeight - innerHeight,
    small: [...document.querySelectorAll("button, #text, summary")].filter((one) => one.checkVisibility())
      .filter((one) => one.getBoundingClientRect().height < 24).map((one) => one.textContent),
    send: document.querySelector("#send button").getBoundingClientRect().toJSON(),
    log: document.getElementById("log").getBoundingClientRect().height,
    width: innerWidth, height: innerHeight,
  }));
  assert.ok(facts.wide <= 0, `the page is ${facts.wide} px too wide for the phone`);
  assert.ok(facts.high <= 0, `the page is ${facts.high} px too high for the phone`);
  assert.deepEqual(facts.small, [], "too small to be touched");
  assert.ok(facts.send.right <= facts.width && facts.send.bottom <= facts.height, "the Send button is in view");
  assert.ok(facts.log > 100, "the messages have room");
}

async function checks(page, who) {
  await check_names(page, who);
  await check_markup(page, who);
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({colorScheme});
    await check_contrast(page, `${who}, ${colorScheme}`);
  }
  await page.emulateMedia({colorScheme: "light"});
}

// ---- the story ----

async function story(browser, url) {
  const ann = await login(browser, url, "Ann", {viewport: {width: 1280, height: 800}});
  const bob = await login(browser, url, "Bob", {viewport: {width: 390, height: 844}, isMobile: true, hasTouch: true});
  await says(ann, "Bob entered");
  await people(ann, ["Ann", "Bob"]);
  await people(bob, ["Ann", "Bob"]);

  // Every transport: messages both ways, once each; typing; presence of whoever changed it.
  for (const kind of ["ws", "sse", "lp"]) {
    if (kind !== "ws") await choose(bob, kind);
    await people(ann, ["Ann", "Bob"]);
    await say(ann, "to " + kind);
    await says(bob, "to " + kind);
    await say(bob, "from " + kind);
    await says(ann, "from " + kind);
    await bob.focus("#text");
    await bob.keyboard.type("hm");
    await until(ann, "typing of Bob", () => document.getElementById("typing").textContent === "Bob is typing…");
    await bob.fill("#text", "");
    await say(bob, "done " + kind);
    await until(ann, "the end of typing", () => document.getElementById("typing").textContent === "");
  }
  const log = (await texts(ann, "#log li:not(.note)")).map((line) => line.replace(/^.*?(Ann|Bob)/, "$1"));
  assert.deepEqual(log, ["ws", "sse", "lp"].flatMap((kind) => ["Annto " + kind, "Bobfrom " + kind, "Bobdone " + kind]));

  // Another room, whose history is there for who comes later; and back to the first.
  await ann.fill("#make input", "harbor");
  await ann.press("#make input", "Enter");
  await until(ann, "the room", () => document.title.startsWith("#harbor"));
  await status(ann, "connected by WebSocket");
  await people(bob, ["Bob"]);
  await says(bob, "Ann left");
  await say(ann, "before Bob");
  await says(ann, "before Bob");
  await bob.fill("#make input", "harbor");
  await bob.press("#make input", "Enter");
  await says(bob, "before Bob");
  await people(ann, ["Ann", "Bob"]);
  assert.equal(await bob.evaluate(() => location.hash), "#harbor");
  await checks(ann, "desk");
  await checks(bob, "phone");
  await check_phone(bob);
  await check_tab_order(ann);
  await ann.screenshot({path: path.join(dir, "desk.png")});
  await bob.screenshot({path: path.join(dir, "phone.png")});
  await bob.focus("#rooms button[aria-current]");
  await bob.keyboard.press("ArrowDown");
  assert.equal(await bob.evaluate(() => document.activeElement.textContent), "#lobby");
  await bob.keyboard.press("Enter");
  await says(bob, "done lp");
  assert.equal((await texts(bob, "#log li:not(.note)")).length, 9);
  await people(ann, ["Ann"]);

  // All three side by side.
  await ann.click("#compare summary");
  await until(ann, "three open lanes",
    () => [...document.querySelectorAll("#lanes tr")].filter((row) => row.cells[1].textContent === "open").length === 3);
  await say(ann, "to all lanes");
  await until(ann, "an event on each lane",
    () => [...document.querySelectorAll("#lanes tr")].filter((row) => row.cells[2].textContent === "1").length === 3);
  assert.equal((await texts(ann, "#log li:not(.note)")).filter((line) => line.includes("to all lanes")).length, 1);

  // Text is text.
  await say(ann, "<img src=x onerror=alert(1)>");
  await says(ann, "<img src=x onerror=alert(1)>");
  assert.equal(await ann.$("#log img"), null);
  assert.deepEqual(ann.problems.concat(bob.problems), []);
}

(async () => {
  const start = Date.now();
  const {server, url} = await serve();
  const browser = await chromium.launch({executablePath, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]});
  try {
    await story(browser, url);
    console.log(`chat page: ok, ${Date.now() - start} ms, ${await browser.version()}`);
  } finally {
    await browser.close();
    server.removeAllListeners("exit");
    const ended = new Promise((done) => server.on("exit", done));
    server.kill("SIGTERM");
    process.exitCode = process.exitCode || ((await ended) === 0 ? 0 : 1);
  }
})().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
