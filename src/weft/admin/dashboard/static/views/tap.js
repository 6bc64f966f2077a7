// Live requests of one workload: a stream that ends by itself, with what was masked and left out told by the server.

import { query, shown } from "../api.js";
import { h } from "../dom.js";
import { milliseconds } from "../format.js";
import { go, to, toDetail } from "../place.js";
import { sh } from "../shell.js";
import { changed } from "../state.js";
import { empty, table, terminal, view } from "../table.js";

const KEPT = 300;
const FIELDS = [["method", "Method", "GET"], ["path", "Path begins with", "/reviews"], ["status", "Status", "503"], ["header", "Header name", "x-request-id"]];
const tap = { lines: [], error: "", missing: false, workload: "", stop: null, number: 0 };

export function tapView(place) {
  const workloads = (query("/v1/workloads", { every: 15 }).value?.workloads ?? []).map((one) => `${one.namespace}/${one.name}`).sort();
  const given = FIELDS.filter(([name]) => place[name]).map(([name]) => ` --${name} ${sh`${place[name]}`}`);
  const command = sh`weft tap ${place.workload || "WORKLOAD"}` + given.join("");
  const submit = (event) => {
    event.preventDefault();
    const data = Object.fromEntries(new FormData(event.target));
    go(to(data));
    begin(data);
  };
  const form = h("form", { class: "form", onsubmit: submit, "data-key": "tap-form" },
    h("label", { class: "grow" }, "Workload", h("input", { name: "workload", list: "tap-workloads", required: true, value: place.workload ?? workloads[0] ?? "", autocomplete: "off" }), h("datalist", { id: "tap-workloads" }, workloads.map((one) => h("option", { value: one })))),
    FIELDS.map(([name, label, hint]) => h("label", null, label, h("input", { name, placeholder: hint, value: place[name] ?? "", autocomplete: "off", size: 10 }))),
    tap.stop ? h("button", { type: "button", "data-key": "stop", onclick: end }, "Stop") : h("button", { class: "main", "data-key": "start" }, "Watch requests"));
  return h("div", { class: "view" }, h("header", null, h("h1", null, "Tap"), tap.stop && h("span", { class: "chip good", role: "status" }, `● watching ${tap.workload}`)), form, content(), terminal(command));
}

function content() {
  if (tap.missing) return empty("Tap: not here", "This control plane cannot show live requests.", "weft tap WORKLOAD");
  const error = tap.error && h("p", { class: "bad", role: "alert" }, tap.error);
  if (!tap.lines.length) return [error, tap.stop ? h("p", { class: "soft", role: "status" }, "Waiting for requests …") : empty("Nobody is watching", "Requests of one workload, as its proxy and the other side's see them, at a bounded rate. Secrets are masked. It ends by itself.", "weft tap default/productpage-v1")];
  const columns = [
    { name: "Time", cell: (one) => h("span", { class: "mono" }, new Date(one.time).toLocaleTimeString(undefined, { hour12: false })) },
    { name: "From", cell: (one) => h("span", { class: "breaks" }, one.side === "inbound" ? one.peer || "?" : one.workload) },
    { name: "To", cell: (one) => h("span", { class: "breaks" }, one.side === "inbound" ? one.workload : one.peer || one.upstream || one.host || "?") },
    { name: "Request", cell: (one) => [h("b", null, one.method ?? ""), " ", h("span", { class: "mono breaks" }, one.path ?? "")] },
    { name: "Status", number: true, cell: (one) => h("span", { class: Number(one.status) >= 500 || !Number(one.status) ? "bad" : null }, one.status || "–", one.flags && one.flags !== "-" ? ` ${one.flags}` : "") },
    { name: "Took", number: true, cell: (one) => milliseconds(one.duration_ms ?? null) },
    { name: "", cell: (one) => (one.failed && one.id ? h("a", { href: toDetail("request", one.id) }, "explain") : null) },
  ];
  return [error, table("tap", columns, tap.lines, { key: (one) => String(one.number), label: "Requests" })];
}

function end() {
  tap.stop?.abort();
  tap.stop = null;
  changed();
}

async function begin(data) {
  end();
  const stop = new AbortController();
  Object.assign(tap, { lines: [], error: "", missing: false, workload: data.workload, stop });
  changed();
  const parameters = new URLSearchParams(Object.entries(data).filter(([, value]) => value));
  try {
    const response = await fetch(`/v1/tap?${parameters}`, { signal: stop.signal, headers: shown(), credentials: "same-origin" });
    const refused = response.ok ? null : await response.json().catch(() => null);
    if (response.status === 404 && refused?.code === "not-found" && /at this path/.test(refused.error)) tap.missing = true;
    else if (!response.ok) tap.error = refused?.error ?? `the control plane answered ${response.status}`;
    else await read(response.body.pipeThrough(new TextDecoderStream()).getReader());
  } catch (error) {
    if (!stop.signal.aborted) tap.error = error instanceof TypeError ? "the control plane does not answer" : error.message;
  }
  if (tap.stop === stop) end();
}

async function read(reader) {
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line.trim()) received(JSON.parse(line));
    changed();
  }
}

function received(line) {
  if ("left_out" in line) tap.error = line.left_out ? `${line.left_out} requests were left out: there are more in a second than are shown` : "";
  else {
    tap.number += 1;
    tap.lines = [{ ...line, number: tap.number }, ...tap.lines].slice(0, KEPT);
  }
}
