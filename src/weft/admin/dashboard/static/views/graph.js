// The graph of services, or the table with the same numbers.

import { h } from "../dom.js";
import { milliseconds, rate, share } from "../format.js";
import { FEW, Graph } from "../graph.js";
import { go, readPlace, to, toDetail, toService } from "../place.js";
import { state } from "../state.js";
import { empty, figure, success, table, unanswered, view } from "../table.js";
import { encryption, graphOf, window } from "../traffic.js";

const CROWD = 150; // nodes; more are folded into their namespaces until the reader unfolds them
let graph = null;

export function graphView(place) {
  const whole = graphOf(place);
  const names = [...new Set((whole.value?.nodes ?? []).map((node) => node.namespace).filter(Boolean))].sort();
  const crowded = (whole.value?.nodes.length ?? 0) > CROWD && names.length > 1;
  const folded = (place.fold ?? (crowded ? names.join(",") : "")).split(",").filter((one) => names.includes(one));
  const answer = folded.length ? graphOf(place, `&fold=${folded.map(encodeURIComponent).join(",")}`) : whole;
  const shown = answer.value;
  const commands = ["weft graph", place.range ? `weft stat --window ${window(place)}` : "weft stat --watch"];
  const toggle = h("a", { class: "button", href: to({ as: place.as === "table" ? null : "table" }), title: "t" }, place.as === "table" ? "Show the graph" : "Show a table");
  const since = answer.value && !answer.value.complete && shown.edges.some((edge) => !edge.intent) && h("span", { class: "soft", title: "The window was begun, or lost reports, within this time" }, "not all of this time is known");
  const actions = [since, spaces(names, folded), toggle];
  const waiting = unanswered(answer, "The graph", "weft get services");
  if (waiting) return view("Graph", null, waiting, commands);
  if (!shown.nodes.length) {
    return view("Graph", null, empty("No services yet", "Services and who calls them stand here as soon as a document names one and a workload runs.", "weft apply -f service.yaml"), commands);
  }
  if (place.as === "table") return view("Graph", actions, edgeTable(shown, place), commands);
  const island = h("div", { class: "graph", "data-key": "graph", "data-island": "graph" });
  return { node: view("Graph", actions, island, commands), after: (root) => draw(root, shown, place) };
}

function draw(root, shown, place) {
  graph ??= new Graph();
  graph.mount(root.querySelector('[data-island="graph"]'));
  const trouble = place.range || state.picture.trouble?.error ? {} : (state.picture.trouble ?? {});
  graph.update(wrap(shown, graph.room()), place.open, trouble);
}

function spaces(names, folded) {
  if (names.length < 2) return null;
  const is = (name) => folded.includes(name);
  const press = (name) => () => go(to({ fold: names.filter((one) => (one === name ? !is(one) : is(one))).join(",") || "none" }));
  return h("div", { class: "spaces", role: "group", "aria-label": "Folded namespaces" }, names.slice(0, 12).map((name) => h("button", { type: "button", "aria-pressed": is(name) ? "true" : "false", title: is(name) ? `Unfold ${name}` : `Fold ${name}`, onclick: press(name) }, is(name) ? `${name} ▸` : name)));
}

let last = null;

// Tall columns stand as several beside each other, as many as fill the page: positions stay a function of the server's.
function wrap(value, room) {
  if (last?.value === value && last.room === room) return last.shown;
  const tall = Math.sqrt((value.height / Math.max(1, value.width)) * room);
  const times = value.nodes.length < FEW ? 1 : Math.max(1, Math.min(8, Math.round(tall)));
  const shown = times === 1 ? value : wrapped(value, times);
  last = { value, room, shown };
  return shown;
}

const moved = new Map(); // node -> its copy with another place, so that what did not change stays the same object

function wrapped(value, times) {
  const column = (node) => Math.round((node.x - 108) / 280);
  const row = (node) => Math.round((node.y - 56) / 96);
  const nodes = value.nodes.map((node) => {
    const before = moved.get(node.id);
    if (before?.node === node && before.times === times) return before.copy;
    const copy = { ...node, x: 108 + column(node) * (280 + (times - 1) * 192) + (row(node) % times) * 192, y: 56 + Math.floor(row(node) / times) * 96 + (row(node) % times) * 22 };
    moved.set(node.id, { node, times, copy });
    return copy;
  });
  return { ...value, nodes, width: Math.max(...nodes.map((node) => node.x)) + 108, height: Math.max(...nodes.map((node) => node.y)) + 56 };
}

function edgeTable(shown) {
  const at = new Map(shown.nodes.map((node) => [node.id, node]));
  const name = (id) => h("a", { href: toService(id) }, at.get(id)?.kind === "namespace" ? id : id.replace(/^workload /, ""));
  const columns = [
    { name: "Caller", cell: (edge) => name(edge.from), value: (edge) => edge.from },
    { name: "Callee", cell: (edge) => name(edge.to), value: (edge) => edge.to },
    { name: "Requests", number: true, cell: (edge) => (edge.intent ? h("span", { class: "soft" }, "meant, unused") : h("a", { href: toDetail("edge", edge.from, edge.to) }, rate(edge.requests_per_second))), value: (edge) => edge.requests_per_second },
    { name: "Success", number: true, cell: (edge) => success(edge.success_rate, share), value: (edge) => edge.success_rate },
    { name: "p50", number: true, cell: (edge) => figure(milliseconds, edge.p50_ms), value: (edge) => edge.p50_ms },
    { name: "p95", number: true, cell: (edge) => figure(milliseconds, edge.p95_ms), value: (edge) => edge.p95_ms },
    { name: "p99", number: true, cell: (edge) => figure(milliseconds, edge.p99_ms), value: (edge) => edge.p99_ms },
    { name: "Encryption", cell: (edge) => h("span", { class: edge.mtls === false ? "bad" : "soft" }, encryption(edge.mtls)), value: (edge) => encryption(edge.mtls) },
  ];
  const { open } = readPlace();
  return table("edges", columns, shown.edges, { key: (edge) => `${edge.from} ${edge.to}`, label: "Calls between services", selected: (edge) => open[0] === "edge" && open[1] === edge.from && open[2] === edge.to });
}
