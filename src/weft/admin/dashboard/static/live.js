// The live stream: a picture, then what changes. It is read while the page is seen, and taken up again when it breaks.

import { shown } from "./api.js";
import { changed, state } from "./state.js";

const NAMES = { nodes: (row) => row.id, edges: (row) => `${row.from} ${row.to}` };
const LONGEST_SILENCE = 25_000; // the server says that it is there every 15 s
const HIDDEN_FOR = 30_000;
let stop = null;

// The picture with a delta of the server put in. What did not change stays the same object.
export function apply(picture, delta) {
  const next = { ...picture, ...delta.set };
  for (const [part, patch] of Object.entries(delta.patch ?? {})) {
    const before = next[part] ?? {};
    const value = { ...before, ...patch.set };
    for (const [list, name] of Object.entries(NAMES)) {
      if (!before[list]) continue;
      const changes = new Map((patch.items[list] ?? []).map((row) => [name(row), row]));
      const gone = new Set(patch.gone[list] ?? []);
      const kept = before[list].filter((row) => !gone.has(name(row))).map((row) => take(changes, name(row)) ?? row);
      value[list] = changes.size || kept.length !== before[list].length || patch.items[list] ? [...kept, ...changes.values()] : before[list];
    }
    next[part] = value;
  }
  return next;
}

function take(map, key) {
  const found = map.get(key);
  map.delete(key);
  return found;
}

function received(event, data) {
  if (event === "snapshot") state.picture = JSON.parse(data);
  else if (event === "change") state.picture = apply(state.picture, JSON.parse(data));
  Object.assign(state, { connected: true, away: "", since: Date.now() });
  changed();
}

async function read(signal, heard) {
  const response = await fetch("/v1/live", { signal, headers: shown(), credentials: "same-origin" });
  if (response.status === 401) state.signedOut = true;
  if (!response.ok) throw new Error((await response.json().catch(() => null))?.error ?? `the control plane answered ${response.status}`);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error("the control plane ended the stream");
    heard();
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const lines = block.split("\n");
      const data = lines.filter((line) => line.startsWith("data: ")).map((line) => line.slice(6));
      const event = lines.find((line) => line.startsWith("event: "))?.slice(7);
      if (data.length) received(event, data.join("\n"));
      else Object.assign(state, { since: Date.now() });
    }
  }
}

async function follow(ended) {
  let pause = 500;
  while (!ended.aborted && !state.signedOut) {
    const attempt = new AbortController();
    let timer = 0;
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => attempt.abort(new Error("nothing was heard of the control plane")), LONGEST_SILENCE);
      pause = 500;
    };
    ended.addEventListener("abort", () => attempt.abort(), { once: true });
    try {
      heard();
      await read(attempt.signal, heard);
    } catch (error) {
      if (ended.aborted) return;
      const text = error instanceof TypeError ? "the control plane does not answer" : error.message;
      Object.assign(state, { connected: false, away: text });
      changed();
    } finally {
      clearTimeout(timer);
    }
    await new Promise((done) => setTimeout(done, pause));
    pause = Math.min(pause * 1.6, 5000);
  }
}

function begin() {
  if (stop || document.hidden) return;
  stop = new AbortController();
  follow(stop.signal);
}

export function startLive() {
  let hiding = 0;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(hiding);
    if (!document.hidden) begin();
    else hiding = setTimeout(() => { stop?.abort(); stop = null; }, HIDDEN_FOR); // a browser has few connections to one server
  });
  begin();
}
