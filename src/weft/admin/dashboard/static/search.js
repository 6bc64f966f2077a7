// One search field over services, workloads, documents, files, proxies, revisions and request ids.

import { query } from "./api.js";
import { h } from "./dom.js";
import { go, toDetail, toDocument, toService, toView } from "./place.js";
import { changed, state } from "./state.js";

const MOST = 12;
const ID = /^[0-9a-f]{8}-?[0-9a-f-]{8,}$/i;
let chosen = 0;

function entries(text) {
  const nodes = (state.picture.graph?.nodes ?? []).map((node) => ["service", node.id, toService(node.id)]);
  const services = (query("/v1/services", { every: 60 }).value?.services ?? []).map((one) => ["service", `${one.namespace}/${one.name}`, toDetail("service", one.namespace, one.name)]);
  const workloads = (query("/v1/workloads", { every: 60 }).value?.workloads ?? []).flatMap((one) => [["workload", `${one.namespace}/${one.name}`, toDetail("workload", one.namespace, one.name)], ["proxy", one.proxy, toDetail("proxy", one.proxy)]]);
  const documents = (query("/v1/documents", { every: 60 }).value?.documents ?? []).map((one) => [one.key.kind, `${one.key.namespace ? `${one.key.namespace}/` : ""}${one.key.name}`, toDocument(one.key), `${one.source}:${one.line}`]);
  const found = [...new Map([...services, ...nodes, ...workloads, ...documents].map((one) => [`${one[0]} ${one[1]}`, one])).values()];
  const own = [];
  if (ID.test(text)) own.push(["request", text, toDetail("request", text)]);
  if (/^\d+$/.test(text)) own.push(["revision", text, toDetail("revision", text)]);
  return [...own, ...found];
}

// Those that hold every word, what begins with the first before what only holds it.
function matches(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const score = ([kind, name, , where]) => {
    const whole = `${kind} ${name} ${where ?? ""}`.toLowerCase();
    if (!words.every((word) => whole.includes(word))) return -1;
    const short = name.toLowerCase().split("/").pop();
    return short === words[0] ? 3 : short.startsWith(words[0]) ? 2 : name.toLowerCase().includes(words[0]) ? 1 : 0;
  };
  return entries(text.trim()).map((one) => [score(one), one]).filter(([points]) => points >= 0).sort((a, b) => b[0] - a[0]).slice(0, MOST).map(([, one]) => one);
}

export function search() {
  const found = state.search.trim() ? matches(state.search) : [];
  chosen = Math.min(chosen, Math.max(0, found.length - 1));
  const input = h("input", { id: "search", type: "search", role: "combobox", placeholder: "Search", "aria-label": "Search services, workloads, documents, files, request ids", "aria-expanded": found.length > 0 ? "true" : "false", "aria-controls": "results", "aria-autocomplete": "list",
    "aria-activedescendant": found.length ? `result-${chosen}` : null, autocomplete: "off", spellcheck: "false", value: state.search, oninput: typed, onkeydown: (event) => pressed(event, found) });
  return h("div", { class: "search", role: "search" }, input, !state.search && h("kbd", { "aria-hidden": "true" }, "/"), state.search.trim() && results(found));
}

function results(found) {
  if (!found.length) return h("div", { class: "results", id: "results" }, h("p", { class: "soft", role: "status" }, `Nothing is called ‘${state.search.trim()}’.`));
  return h("div", { class: "results", id: "results", role: "listbox", "aria-label": "Found" }, found.map(([kind, name, href, where], index) =>
    h("a", { href, role: "option", id: `result-${index}`, tabindex: -1, "aria-selected": index === chosen ? "true" : "false", onclick: clear }, h("span", { class: "kind" }, kind), h("span", { class: "breaks" }, name), where && h("span", { class: "soft breaks" }, where))));
}

function typed(event) {
  state.search = event.target.value;
  chosen = 0;
  changed();
}

function clear() {
  state.search = "";
  document.getElementById("search").value = "";
  changed();
}

function pressed(event, found) {
  if (event.key === "Escape") {
    clear();
    event.target.blur();
  } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    chosen = (chosen + (event.key === "ArrowDown" ? 1 : -1) + found.length) % Math.max(1, found.length);
    event.preventDefault();
    changed();
  } else if (event.key === "Enter" && found[chosen]) {
    const [, , href] = found[chosen];
    clear();
    event.target.blur();
    go(href);
  } else if (event.key === "Enter" && !state.search.trim()) go(toView("graph"));
}
