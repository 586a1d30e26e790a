// server.cjs - xs serve as a child on a free port.
"use strict";
const { spawn } = require("node:child_process");

// Resolves to {process, port}; rejects when the server ends before it listens.
function start(xs, app, args) {
  return new Promise((done, fail) => {
    const child = spawn(xs, ["serve", app, "--listen", "127.0.0.1:0", "--db", ":memory:", "--log-level", "error",
      "--drain-ms", "200", ...args], { stdio: ["ignore", "pipe", "inherit"] });
    let text = "";
    child.stdout.on("data", (chunk) => {
      text += chunk;
      const found = text.match(/http:\/\/127\.0\.0\.1:(\d+)\n/);
      if (found) done({ process: child, port: Number(found[1]) });
    });
    child.on("exit", () => fail(new Error("the server ended")));
  });
}

function stop(server) {
  const ended = new Promise((done) => server.process.once("exit", done));
  server.process.kill("SIGTERM");
  return ended;
}

module.exports = { start, stop };
