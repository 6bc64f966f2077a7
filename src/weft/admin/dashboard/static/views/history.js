// The revisions: who changed what and when, and how fast proxies confirmed it.

import { query } from "../api.js";
import { h } from "../dom.js";
import { ago, count } from "../format.js";
import { readPlace, toDetail } from "../place.js";
import { empty, figure, table, unanswered, view } from "../table.js";

export function historyView() {
  const answer = query("/v1/history?limit=200", { every: 5 });
  const commands = ["weft history", "weft history show REVISION"];
  if (answer.missing) return events(commands);
  const waiting = unanswered(answer, "History", "weft history");
  if (waiting) return view("History", null, waiting, commands);
  const rows = answer.value.revisions;
  if (!rows.length) return view("History", null, empty("No change yet", "Every change of a document stands here with who made it, what it changed in which proxies, and when they confirmed.", "weft apply -f route.yaml --wait"), commands);
  const open = readPlace().open;
  const columns = [
    { name: "Revision", number: true, cell: (one) => h("a", { href: toDetail("revision", one.revision) }, one.revision), value: (one) => one.revision },
    { name: "When", short: true, cell: (one) => ago(one.time), value: (one) => one.time },
    { name: "Who", cell: (one) => h("span", { class: "breaks" }, one.who), value: (one) => one.who },
    { name: "Did", short: true, cell: (one) => one.action, value: (one) => one.action },
    { name: "What", cell: (one) => h("span", { class: "breaks" }, what(one.objects)), value: (one) => what(one.objects) },
    { name: "Proxies", number: true, cell: confirmed, value: (one) => one.changed_proxies },
    { name: "Confirmed in", number: true, cell: (one) => figure((ms) => (ms === null ? "–" : `${count(ms)} ms`), one.confirmed_ms ?? null), value: (one) => one.confirmed_ms },
  ];
  return view("History", null, table("history", columns, rows, { key: (one) => String(one.revision), label: "Revisions", selected: (one) => open[0] === "revision" && open[1] === String(one.revision) }), commands);
}

export const objectText = (one) => (typeof one === "string" ? one : one?.kind ? `${one.kind} ${one.namespace ? `${one.namespace}/` : ""}${one.name}` : String(one?.object ?? ""));
const what = (objects) => `${objects.slice(0, 3).map(objectText).join(", ")}${objects.length > 3 ? ` and ${objects.length - 3} more` : ""}`;

export function confirmed(one) {
  const pending = one.pending?.length ?? 0;
  return h("span", { class: pending ? "warn" : null }, pending ? `▲ ${pending} of ${one.changed_proxies} pending` : count(one.changed_proxies));
}

// Without a history: what the audit has.
function events(commands) {
  const answer = query("/v1/events", { every: 5 });
  const waiting = unanswered(answer, "History", "weft audit");
  if (waiting) return view("History", null, waiting, commands);
  const columns = [
    { name: "When", short: true, cell: (one) => ago(one.time), value: (one) => one.time },
    { name: "Who", cell: (one) => h("span", { class: "breaks" }, one.who), value: (one) => one.who },
    { name: "Did", short: true, cell: (one) => one.action, value: (one) => one.action },
    { name: "What", cell: (one) => h("span", { class: "breaks" }, one.object), value: (one) => one.object },
    { name: "Outcome", cell: (one) => h("span", { class: one.outcome === "refused" ? "warn" : null, title: one.detail }, one.outcome), value: (one) => one.outcome },
  ];
  return view("History", null, table("events", columns, answer.value.events.slice(0, 300), { key: (one) => `${one.time} ${one.action} ${one.object}`, label: "Events" }), ["weft audit"]);
}
