// Routes and policies: the documents in force with their file and line, and whether they are accepted.

import { query } from "../api.js";
import { h } from "../dom.js";
import { fileLine, where } from "../format.js";
import { go, readPlace, to, toDocument } from "../place.js";
import { state } from "../state.js";
import { empty, filter, table, unanswered, view } from "../table.js";

const ROUTE = /Route$|^VirtualService$|^Gateway$|^ServiceEntry$/;
const ROUTES_NOTHING = new Set(["Service", "Namespace", "ServiceAccount", "Secret", "ConfigMap", "GatewayClass", "WorkloadEntry", "WorkloadGroup"]);
const KINDS = {
  routes: { title: "Routes", has: (kind) => ROUTE.test(kind), command: ["weft get httproutes -A", "weft get virtualservices -A"], none: "A route says where requests for a host go: an HTTPRoute, or Istio's VirtualService.", make: "weft apply -f route.yaml --wait" },
  policies: { title: "Policies", has: (kind) => !ROUTE.test(kind) && !ROUTES_NOTHING.has(kind), command: ["weft get all -A"], none: "A policy says how services are called: DestinationRule for balancing and ejection, PeerAuthentication for mutual TLS, MeshConfig for all of the mesh.", make: "weft apply -f policy.yaml --wait" },
};

export function documentsView(place, which) {
  const kind = KINDS[which];
  const answer = query("/v1/documents");
  const waiting = unanswered(answer, kind.title, kind.command[0]);
  if (waiting) return view(kind.title, null, waiting, kind.command);
  const rows = answer.value.documents.filter((one) => kind.has(one.key.kind));
  if (!rows.length) return view(kind.title, null, empty(`No ${which} yet`, kind.none, kind.make), kind.command);
  const text = (place.filter ?? "").toLowerCase();
  const shown = rows.filter((one) => `${one.key.kind} ${one.key.namespace}/${one.key.name} ${one.source}`.toLowerCase().includes(text));
  const open = readPlace().open.slice(1).join("/");
  return view(kind.title, filter(place.filter, (value) => go(to({ filter: value })), "Filter by name, kind or file"),
    table(which, columns(), shown, { key: nameOf, label: kind.title, selected: (one) => open === nameOf(one) }), kind.command);
}

const nameOf = (one) => `${one.key.kind}/${one.key.namespace || "-"}/${one.key.name}`;

function columns() {
  return [
    { name: "Name", cell: (one) => h("a", { href: toDocument(one.key) }, one.key.name), value: (one) => one.key.name },
    { name: "Namespace", cell: (one) => one.key.namespace || h("span", { class: "soft" }, "cluster"), value: (one) => one.key.namespace },
    { name: "Kind", cell: (one) => one.key.kind, value: (one) => one.key.kind },
    { name: "About", cell: (one) => h("span", { class: "breaks" }, about(one.document.spec ?? {})), value: (one) => about(one.document.spec ?? {}) },
    { name: "Where", cell: (one) => where(fileLine(one.source, one.line)), value: (one) => one.source },
    { name: "State", cell: verdict, value: (one) => problemsOf(one.key).length },
  ];
}

// Whom a document is about, in the words of its kind.
export function about(spec) {
  const named = (list) => (list ?? []).map((one) => one.name ?? one).join(", ");
  if (spec.hosts) return named(spec.hosts);
  if (spec.host) return spec.host;
  if (spec.hostnames?.length) return named(spec.hostnames);
  if (spec.parentRefs) return named(spec.parentRefs);
  if (spec.targetRefs) return named(spec.targetRefs);
  if (spec.listeners) return spec.listeners.map((one) => `${one.name}:${one.port}`).join(", ");
  const labels = spec.selector?.matchLabels ?? spec.selector;
  return labels && typeof labels === "object" ? Object.entries(labels).map(([key, value]) => `${key}=${value}`).join(", ") : "";
}

export function problemsOf(key) {
  return (state.picture.problems?.problems ?? []).filter((one) => one.object && one.object.kind === key.kind && one.object.namespace === key.namespace && one.object.name === key.name);
}

export function verdict(one) {
  const found = problemsOf(one.key);
  const refused = [...(one.conditions ?? []), ...(one.parents ?? []).flatMap((parent) => parent.conditions ?? [])].filter((condition) => condition.status === "False");
  if (one.unreadable) return h("span", { class: "chip bad" }, "◆ not understood: it closes what it names");
  if (found.some((problem) => problem.severity === "error")) return h("span", { class: "chip bad" }, `◆ ${found.length} ${found.length === 1 ? "problem" : "problems"}`);
  if (refused.length) return h("span", { class: "chip warn", title: refused[0].message }, `▲ ${refused[0].reason}`);
  if (found.length) return h("span", { class: "chip warn" }, `▲ ${found.length} ${found.length === 1 ? "warning" : "warnings"}`);
  return h("span", { class: "chip good" }, "● in force");
}
