// transports.js - one room over WebSocket, SSE or long-poll, each by hand, without a library.
// connect(kind, {base, token, channel, onFrame, onState, onGap}) gives {send(frame), close()}.
// onState: "connecting", "open" (in the room), "refused". onGap: events may have been missed; read the room anew.
"use strict";

const transportNames = {ws: "WebSocket", sse: "SSE", lp: "long-poll"};

// Full jitter: whoever lost the connection together does not come back together.
const backOff = (tries) => Math.random() * Math.min(30000, 1000 * 2 ** tries);

function connect(kind, options) {
  return {ws: connectSocket, sse: connectStream, lp: connectPolls}[kind](options);
}

function connectSocket({base, token, channel, onFrame, onState, onGap}) {
  let socket, closed = false, tries = 0, before = false;
  const waiting = [];
  const open = () => {
    onState("connecting");
    socket = new WebSocket(location.origin.replace(/^http/, "ws") + base, token);
    socket.onopen = () => {
      tries = 0;
      socket.send(JSON.stringify({action: "join", options: {channel}, payload: {}}));
      while (waiting.length) socket.send(waiting.shift());
    };
    socket.onmessage = (message) => {
      const frame = JSON.parse(message.data);
      if (frame.action === "join") {
        onState("open");
        if (before) onGap(); // frames carry no position here
        before = true;
      }
      onFrame(frame);
    };
    socket.onclose = (end) => {
      if (closed) return;
      if (end.code === 4401 || end.code === 4429) return onState("refused");
      onState("connecting");
      setTimeout(() => closed || open(), end.code === 4000 ? 0 : backOff(tries++));
    };
  };
  open();
  return {
    send(frame) {
      const text = JSON.stringify(frame);
      if (socket.readyState === WebSocket.OPEN) socket.send(text);
      else waiting.push(text);
    },
    close() {
      closed = true;
      socket.close(1000);
    },
  };
}

// Frames to the server of the two transports that only bring them.
function poster(base, token) {
  let sid;
  const waiting = [];
  const post = (frame) =>
    fetch(base + "/send?sid=" + encodeURIComponent(sid), {
      method: "POST",
      headers: {"Content-Type": "application/json", Authorization: "Bearer " + token},
      body: JSON.stringify(frame),
      keepalive: true, // also while the page goes away
    }).catch(() => {}); // the stream or the next poll tells that the connection is lost
  return {
    send: (frame) => (sid ? post(frame) : waiting.push(frame)),
    use(next) {
      sid = next;
      while (waiting.length) post(waiting.shift());
    },
  };
}

function connectStream({base, token, channel, onFrame, onState, onGap}) {
  const out = poster(base, token);
  let source, closed = false, position, tries = 0;
  const open = async () => {
    onState("connecting");
    try { // a token in a URL ends up in logs, a ticket is good for one use
      const answer = await fetch(base + "/ticket", {method: "POST", headers: {Authorization: "Bearer " + token}});
      if (answer.status === 401) return onState("refused");
      const {ticket} = await answer.json();
      if (closed) return;
      const query = new URLSearchParams({channel, ticket});
      if (position) query.set("last_event_id", position);
      source = new EventSource(base + "/sse?" + query);
    } catch (problem) {
      return again();
    }
    source.addEventListener("open", (event) => {
      if (!event.data) return; // the browser's own
      tries = 0;
      position = event.lastEventId;
      out.use(JSON.parse(event.data).sid);
    });
    source.addEventListener("resync", onGap);
    source.onmessage = (event) => {
      position = event.lastEventId || position;
      const frame = JSON.parse(event.data);
      if (frame.action === "join") onState("open");
      onFrame(frame);
    };
    source.onerror = again; // its own retry would use the ticket twice
  };
  const again = () => {
    if (source) source.close();
    if (closed) return;
    onState("connecting");
    setTimeout(() => closed || open(), backOff(tries++));
  };
  open();
  return {
    send: out.send,
    close() {
      closed = true;
      out.send({action: "leave", options: {channel}});
      if (source) source.close();
    },
  };
}

function connectPolls({base, token, channel, onFrame, onState, onGap}) {
  const out = poster(base, token);
  const stop = new AbortController();
  const pause = (ms) => new Promise((done) => setTimeout(done, ms));
  (async () => {
    let sid, cursor, joined = false, tries = 0;
    onState("connecting");
    while (!stop.signal.aborted) {
      try {
        const query = new URLSearchParams({channel});
        if (cursor) query.set("cursor", cursor);
        if (sid) query.set("sid", sid);
        const answer = await fetch(base + "/lp?" + query,
          {headers: {Authorization: "Bearer " + token}, signal: stop.signal, cache: "no-store"});
        if (answer.status === 401) return onState("refused");
        if (!answer.ok) throw new Error(answer.status);
        const batch = await answer.json();
        tries = 0;
        ({sid, cursor} = batch);
        out.use(sid);
        joined = joined || batch.frames.some((frame) => frame.action === "join");
        if (joined) onState("open");
        if (batch.resync.length) onGap();
        batch.frames.forEach(onFrame);
        if (batch.wait) await pause(batch.wait);
      } catch (problem) {
        if (stop.signal.aborted) return;
        onState("connecting");
        await pause(backOff(tries++));
      }
    }
  })();
  return {
    send: out.send,
    close() {
      out.send({action: "leave", options: {channel}}); // or others see us until the session has expired
      stop.abort();
    },
  };
}
