// Draws the graph where the server laid it out. Elements are kept by node and edge, and made again only when those change.

import { h, s } from "./dom.js";
import { count, level, milliseconds, rate, share } from "./format.js";
import { edgePath, Sight } from "./sight.js";
import { to, toDetail, toService } from "./place.js";

const WIDTH = 168;
const HEIGHT = 64;
const LABELS = 60; // edges with their rate written on them; of more, who points at one is told
export const FEW = 25; // nodes that stand exactly where the server has put them
const ENOUGH = 5; // requests of the last seconds that tell how calls go now
const FAINT = 0.01; // of the busiest edge's rate
const MARKS = { bad: "M0 -6L6 0L0 6L-6 0Z", warn: "M0 -6L6 5H-6Z" };

export class Graph {
  constructor() {
    this.nodes = new Map();
    this.edges = new Map();
    this.layers = { edges: s("g"), nodes: s("g") };
    this.svg = s("svg", { role: "group", "aria-label": "Services and their calls. Arrow keys move, Enter opens, t shows a table." }, this.layers.edges, this.layers.nodes);
    this.tip = h("div", { class: "tip", role: "status" });
    this.tip.hidden = true;
    this.sight = new Sight(this.svg);
    const button = (text, label, act) => h("button", { type: "button", "aria-label": label, title: label, onclick: act }, text);
    const controls = h("div", { class: "controls" }, button("−", "Zoom out", () => this.sight.zoom(1.3)), button("+", "Zoom in", () => this.sight.zoom(1 / 1.3)), button("⤢", "Show everything", () => this.sight.fit()));
    this.parts = [this.svg, legend(), controls, this.tip];
    this.svg.addEventListener("keydown", (event) => this.key(event));
    this.svg.addEventListener("focusin", (event) => this.sight.show(this.at(event.target)));
  }

  // Put the graph into its place on the page.
  mount(place) {
    if (place.firstChild !== this.svg) {
      place.replaceChildren(...this.parts);
      this.sight.follow(place);
    }
  }

  // How much wider than high the page is, in steps, so that a small change, or a detail that opens, moves nothing.
  room() {
    return Math.max(0.5, Math.round((innerWidth / innerHeight) * 2) / 2);
  }

  // `trouble`: what failed in the last seconds, by edge; the graph's own numbers are of a longer time.
  update(graph, open, trouble) {
    this.value = graph;
    const inbound = new Map(); // node -> how bad the worst of the calls to it is
    for (const edge of graph.edges.filter((one) => !one.intent)) inbound.set(edge.to, worse(inbound.get(edge.to) ?? "", badness(edge, trouble[`${edge.from} ${edge.to}`])));
    const busiest = Math.max(0, ...graph.edges.map((edge) => edge.requests_per_second));
    const written = graph.edges.length <= LABELS;
    const at = new Map(graph.nodes.map((node) => [node.id, node]));
    const rows = graph.edges.filter((edge) => at.has(edge.from) && at.has(edge.to));
    sync(this.layers.edges, this.edges, rows, (edge) => `${edge.from} ${edge.to}`, (edge) => {
      const [from, [toward, faint]] = [at.get(edge.from), [at.get(edge.to), edge.requests_per_second < busiest * FAINT]];
      const found = trouble[`${edge.from} ${edge.to}`];
      const inputs = [edge, from.x, from.y, toward.x, toward.y, written, faint, found?.requests, found?.failed, found?.faults];
      return [inputs, () => this.edge(edge, from, toward, { written, faint, found })];
    });
    sync(this.layers.nodes, this.nodes, graph.nodes, (node) => node.id, (node) => [[node, inbound.get(node.id)], () => this.node(node, inbound.get(node.id) ?? level(node.success_rate))]);
    this.select(open);
    this.sight.extent(graph.width, graph.height, graph.nodes.length <= FEW, at.get(open.slice(1).join("/")) ?? at.get(open[2]));
    const roving = this.svg.querySelector('.node[tabindex="0"]') ?? this.layers.nodes.firstElementChild;
    for (const one of this.layers.nodes.children) one.setAttribute("tabindex", one === roving ? "0" : "-1");
  }

  // What is open beside the graph stands out, with its calls.
  select([kind, ...names]) {
    const chosen = kind === "service" ? names.join("/") : kind === "workload" ? `workload ${names.join("/")}` : kind === "edge" ? null : undefined;
    const pair = kind === "edge" ? names.join(" ") : null;
    const close = new Set(pair ? names : [chosen]);
    for (const [key, { element, item }] of this.edges) {
      const its = key === pair || item.from === chosen || item.to === chosen;
      element.classList.toggle("selected", key === pair);
      element.classList.toggle("close", its);
      if (its && !pair) [item.from, item.to].forEach((one) => close.add(one));
    }
    for (const [key, { element }] of this.nodes) {
      element.classList.toggle("selected", key === chosen);
      element.classList.toggle("close", close.has(key));
    }
    this.svg.classList.toggle("near", this.nodes.has(chosen) || this.edges.has(pair));
  }

  node(node, bad) {
    const idle = !node.requests_per_second;
    const many = node.versions.length > 1;
    const line = many ? 37 : 44;
    const numbers = [s("text", { class: "numbers", x: 13, y: line }, rate(node.requests_per_second)), s("text", { class: `numbers ${level(node.success_rate)}`, x: 90, y: line, "text-anchor": "middle" }, share(node.success_rate)), s("text", { class: "numbers", x: WIDTH - 13, y: line, "text-anchor": "end" }, milliseconds(node.p99_ms))];
    const label = `${node.name}, ${node.kind} of ${node.namespace || "no namespace"}: ${rate(node.requests_per_second)}, success ${share(node.success_rate)}, p99 ${milliseconds(node.p99_ms)}${node.problems ? `, ${node.problems} problems` : ""}; workloads ${node.versions.flatMap((one) => one.workloads.map((name) => name.split("/").pop())).join(", ") || "none"}`;
    const element = s("a", { class: `node ${node.kind} ${bad} ${idle ? "quiet" : ""}`, href: this.address(node), "aria-label": label, transform: `translate(${node.x - WIDTH / 2} ${node.y - HEIGHT / 2})`, "data-id": node.id },
      node.kind === "namespace" && s("rect", { class: "box", x: 5, y: 5, width: WIDTH, height: HEIGHT, rx: 7 }),
      s("rect", { class: "box", width: WIDTH, height: HEIGHT, rx: node.kind === "gateway" ? 20 : 7 }),
      s("path", { class: "mark", d: MARKS[bad] ?? "", transform: `translate(${WIDTH - 17} 21)` }),
      s("text", { class: "name", x: 13, y: many ? 21 : 25 }, cut(node.name, bad ? 18 : 20)),
      idle && node.success_rate === null ? s("text", { class: "numbers", x: 13, y: line }, "no requests") : numbers,
      slices(node.versions),
      node.problems > 0 && s("g", { transform: `translate(${WIDTH - 4} 3)` }, s("circle", { class: "problems", r: 9 }), s("text", { class: "problems-count", y: 4 }, node.problems > 99 ? "99" : node.problems)));
    return this.listen(element, () => tipOfNode(node));
  }

  address(node) {
    if (node.kind === "namespace") return to({ fold: this.value.nodes.filter((one) => one.kind === "namespace" && one !== node).map((one) => one.name).join(",") || "none" });
    return node.kind === "outside" ? toDetail("service", "", node.id) : toService(node.id);
  }

  edge(edge, from, toward, { written, faint, found }) {
    const failing = badness(edge, found);
    const width = edge.intent ? 1.25 : Math.min(9, 1.3 + Math.log2(1 + edge.requests_per_second) * 0.75);
    const { path, middle, end, angle } = edgePath(from, toward, WIDTH, HEIGHT);
    const plain = edge.mtls === false;
    const classes = ["edge", failing, faint && !failing && !edge.intent && "faint", edge.intent && "intent", plain && "plaintext"];
    const percents = (member) => edge.weights.map((one) => (one[member] === null ? "–" : Math.round(one[member] * 100))).join("/");
    const split = edge.weights.length > 1 && `${percents("seen")} asked ${percents("asked")}`;
    const text = edge.intent ? "" : failing ? howBad(edge, found) : rate(edge.requests_per_second);
    const element = s("a", { class: classes.filter(Boolean).join(" "), href: toDetail("edge", edge.from, edge.to), tabindex: -1, "aria-label": `calls from ${edge.from} to ${edge.to}` },
      s("path", { class: "hit", d: path }),
      s("path", { class: "line", d: path, "stroke-width": width.toFixed(2) }),
      s("path", { class: "tip-of", d: `M0 0L-${5 + width} -${3 + width / 2}V${3 + width / 2}Z`, transform: `translate(${end[0]} ${end[1]}) rotate(${angle})` }),
      edge.mtls !== null && !edge.intent && lock(middle, plain),
      written && text && s("text", { class: "label", x: middle[0], y: middle[1] + 21 }, text),
      written && split && s("text", { class: "label", x: middle[0], y: middle[1] + 34 }, cut(split, 19)));
    return this.listen(element, () => tipOfEdge(edge));
  }

  listen(element, text) {
    element.addEventListener("click", (event) => this.sight.dragged && event.preventDefault());
    element.addEventListener("pointerenter", (event) => this.point(event, text()));
    element.addEventListener("pointerleave", () => { this.tip.hidden = true; });
    return element;
  }

  point(event, content) {
    if (event.pointerType === "touch") return;
    const box = this.svg.getBoundingClientRect();
    this.tip.replaceChildren(...content);
    this.tip.hidden = false;
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    this.tip.style.left = `${Math.max(4, Math.min(x + 14, box.width - this.tip.offsetWidth - 8))}px`;
    this.tip.style.top = `${Math.max(4, Math.min(y + 14, box.height - this.tip.offsetHeight - 8))}px`;
  }

  at(element) {
    const id = element?.getAttribute?.("data-id");
    return this.value?.nodes.find((node) => node.id === id);
  }

  key(event) {
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    const from = this.at(document.activeElement);
    if (event.key === "+" || event.key === "-") this.sight.zoom(event.key === "+" ? 1 / 1.3 : 1.3);
    else if (event.key === "0") this.sight.fit();
    else if (!from || (!dx && !dy)) return;
    else this.step(from, dx, dy);
    event.preventDefault();
  }

  // The focus goes to the nearest node in that direction.
  step(from, dx, dy) {
    const far = (node) => {
      const [along, aside] = [(node.x - from.x) * dx + (node.y - from.y) * dy, Math.abs((node.x - from.x) * dy) + Math.abs((node.y - from.y) * dx)];
      return along > 1 ? along + aside * 2 : Infinity;
    };
    const next = this.value.nodes.reduce((best, node) => (far(node) < far(best) ? node : best), from);
    if (next === from) return;
    for (const { element } of this.nodes.values()) element.setAttribute("tabindex", "-1");
    const element = this.nodes.get(next.id).element;
    element.setAttribute("tabindex", "0");
    element.focus({ preventScroll: true });
  }
}

// How bad calls are: "", "warn" or "bad". By the last seconds where they tell enough, else also by the graph's own time.
// A fault that a rule injects is there or not, however few requests had it.
function badness(edge, found) {
  const lately = !found ? "" : found.faults >= found.requests * 0.01 && found.faults ? "bad" : level(1 - found.failed / Math.max(1, found.requests));
  return found?.requests >= ENOUGH ? lately : worse(lately, level(edge.success_rate));
}

const RANK = ["", "warn", "bad"];
const worse = (one, other) => (RANK.indexOf(one) < RANK.indexOf(other) ? other : one);

function howBad(edge, found) {
  if (found && found.faults > found.failed) return `fault in ${share(found.faults / found.requests)}`;
  const lately = found?.failed ? found.failed / found.requests : 0;
  return `${share(lately || 1 - (edge.success_rate ?? 1))} fail`;
}

function sync(layer, kept, items, name, make) {
  const names = new Set();
  for (const item of items) {
    const key = name(item);
    const [inputs, build] = make(item);
    const before = kept.get(key);
    names.add(key);
    if (before && before.inputs.every((one, index) => one === inputs[index])) continue;
    const element = build();
    if (before) {
      const focused = document.activeElement === before.element;
      element.setAttribute("tabindex", before.element.getAttribute("tabindex") ?? "-1");
      before.element.replaceWith(element);
      if (focused) element.focus({ preventScroll: true });
    } else layer.append(element);
    if (element.classList.contains("bad")) layer.append(element); // what fails is on top
    kept.set(key, { item, inputs, element });
  }
  for (const [key, { element }] of kept) {
    if (names.has(key)) continue;
    element.remove();
    kept.delete(key);
  }
}

export const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

// Versions side by side, each as wide as its share of what was answered, with the names of its workloads.
function slices(versions) {
  const known = versions.some((one) => one.share);
  let x = 13;
  return versions.map((one, index) => {
    const width = (WIDTH - 26) * (known ? (one.share ?? 0) : 1 / versions.length);
    const names = one.workloads.map((name) => name.split("/").pop()).join(", ");
    const name = s("title", null, `${names} (version ${one.name})`);
    const slice = versions.length > 1 && [s("rect", { class: `slice ${index % 2 ? "even" : ""}`, x, y: HEIGHT - 21, width: Math.max(0, width - 1), height: 4 }),
      width > 20 && s("text", { class: "version", x: x + width / 2, y: HEIGHT - 7 }, cut(one.name, Math.floor(width / 6)))];
    x += width;
    return s("g", { class: "instances" }, name, slice);
  });
}

function lock([x, y], plain) {
  return s("g", { transform: `translate(${x} ${y})` },
    s("circle", { class: "badge-ground", r: 8 }),
    s("path", { class: "lock-shackle", d: plain ? "M-2.6 -1V-3.2A2.6 2.6 0 0 1 2.4 -4" : "M-2.6 -1V-2.6A2.6 2.6 0 0 1 2.6 -2.6V-1" }),
    s("rect", { class: "lock", x: -4, y: -1, width: 8, height: 6, rx: 1.2 }));
}

const line = (name, value) => [h("dt", { class: "soft" }, name), h("dd", null, value)];

function tipOfNode(node) {
  return [h("b", null, node.id), h("dl", null,
    line("requests", rate(node.requests_per_second)), line("success", share(node.success_rate)), line("p99", milliseconds(node.p99_ms)),
    node.versions.length > 1 && node.versions.map((one) => line(`version ${one.name}`, share(one.share))),
    node.problems > 0 && line("problems", count(node.problems)))];
}

function tipOfEdge(edge) {
  const state = edge.mtls === null ? "not known" : edge.mtls ? "mutual TLS" : "plaintext";
  const numbers = edge.intent ? h("p", null, "A rule leads here; nothing was sent in this time.") : h("dl", null,
    line("requests", rate(edge.requests_per_second)), line("success", share(edge.success_rate)), line("p50", milliseconds(edge.p50_ms)), line("p99", milliseconds(edge.p99_ms)),
    line("encryption", state), Object.entries(edge.flags).map(([flag, times]) => line(`flag ${flag}`, count(times))),
    edge.weights.map((one) => line(`to ${one.to}`, `${share(one.seen)} of ${share(one.asked)} asked`)));
  return [h("b", null, `${edge.from} → ${edge.to}`), numbers];
}

function legend() {
  const sample = (classes, text) => h("span", null, s("svg", { viewBox: "0 0 26 10", "aria-hidden": "true" }, s("g", { class: `edge ${classes}` }, s("path", { class: "line", d: "M0 5H26", "stroke-width": 2.5 }))), text);
  return h("div", { class: "legend" }, h("span", null, "rate · success · p99"), sample("", "width: rate"), sample("bad", "≥ 5 % fail"), sample("warn", "≥ 1 %"), sample("intent", "meant, unused"));
}

