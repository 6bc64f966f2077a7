// The calls from one service to another: numbers, codes and flags, a split against its weights, both sides' workloads.

import { h, s } from "../dom.js";
import { bytes, count, milliseconds, rate, share } from "../format.js";
import { heading } from "../heading.js";
import { toDetail, toObject, toService, toWorkload } from "../place.js";
import { sh } from "../shell.js";
import { facts, figure, figures, section, success, table, terminal, unanswered } from "../table.js";
import { edgesOf, encryption, graphOf, seriesOf } from "../traffic.js";
import { charts, toExplain } from "./service.js";

export function edgeDetail(place, from, toward) {
  const graph = graphOf(place);
  const edge = graph.value?.edges.find((one) => one.from === from && one.to === toward);
  const name = h("span", null, h("a", { href: toService(from) }, bare(from)), " → ", h("a", { href: toService(toward) }, bare(toward)));
  const commands = terminal(sh`weft edges ${toward}`, sh`weft explain --from ${bare(from)} ${`http://${toward.split("/").pop()}/`}`);
  const waiting = unanswered(graph, "Calls", "weft edges");
  if (waiting) return [heading("Calls", name), waiting, commands];
  if (!edge) return [heading("Calls", name), h("p", { class: "soft" }, "Nothing was sent in this time, and no rule leads there."), commands];
  const state = edge.intent ? h("p", null, "A rule leads there; nothing was sent in this time.") : null;
  return [
    heading("Calls", name),
    state,
    figures(["requests", figure(rate, edge.requests_per_second)], ["success", success(edge.success_rate, share)], ["p50", figure(milliseconds, edge.p50_ms)], ["p95", figure(milliseconds, edge.p95_ms)], ["p99", figure(milliseconds, edge.p99_ms)]),
    section("Why", h("p", null, edge.success_rate !== null && edge.success_rate < 1 && [h("a", { href: toDetail("failures", toward) }, `${share(1 - edge.success_rate)} of requests fail: see the last ones, each explained`), "; "], h("a", { href: toExplain(from, toward) }, "which rule decides"))),
    charts(seriesOf(place, from.startsWith("workload ") ? `&source=${encodeURIComponent(from.slice(9))}&destination=${encodeURIComponent(toward)}` : `&destination=${encodeURIComponent(toward)}`)),
    edge.weights.length > 0 && split(edge.weights),
    section("How", facts(
      ["Encryption", h("span", { class: edge.mtls === false ? "bad" : null }, edge.mtls === false ? "◆ some in plaintext" : encryption(edge.mtls))],
      ["Protocols", edge.protocols?.join(", ")], ["Ports", edge.ports?.join(", ")],
      ["Status codes", tally(edge.codes)], ["Response flags", tally(edge.flags)],
      ["Sent, received", `${bytes(edge.bytes_sent)}, ${bytes(edge.bytes_received)}`],
      ["Connections", `${count(edge.connections_opened)} opened, ${count(edge.connections_closed)} closed`])),
    workloads(place, from, toward),
    commands,
  ];
}

const bare = (id) => id.replace(/^workload /, "");

const tally = (counts) => Object.entries(counts ?? {}).filter(([, times]) => times > 0).map(([name, times]) => h("span", null, h("span", { class: /^5|^[A-Z]/.test(name) ? "chip bad" : "chip" }, name), ` ${count(times)}  `)).flatMap((one) => [one, " "]);

// What was seen against what the rule asks for: the bar is seen, the mark is asked.
function split(weights) {
  const bar = (one) => s("svg", { viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" }, s("rect", { class: "track", width: 100, height: 8 }), one.seen !== null && s("rect", { class: "fill", width: one.seen * 100, height: 8 }), s("rect", { class: "asked", x: Math.min(99, one.asked * 100), width: 1, height: 8 }));
  const rule = weights[0].rule;
  return section("Split", h("div", { class: "bars" }, weights.map((one) => h("div", null, h("span", { class: "breaks" }, one.to), bar(one), h("span", { class: "number" }, `${share(one.seen)} of ${share(one.asked)} asked`)))),
    rule && h("p", { class: "soft" }, "asked for by ", toObject(rule) ? h("a", { href: toObject(rule) }, rule) : rule));
}

function workloads(place, from, toward) {
  const answer = edgesOf(place, `&destination=${encodeURIComponent(toward)}`);
  const rows = (answer.value?.edges ?? []).filter((edge) => edge.source_service === from || `workload ${edge.source}` === from || edge.source === from);
  if (!rows.length) return null;
  const columns = [
    { name: "From", cell: (edge) => h("a", { href: toWorkload(edge.source) }, edge.source || "?"), value: (edge) => edge.source },
    { name: "To", cell: (edge) => (edge.destination_workload ? h("a", { href: toWorkload(edge.destination_workload) }, edge.destination_workload) : h("span", { class: "soft" }, "nobody answered")), value: (edge) => edge.destination_workload },
    { name: "Requests", number: true, cell: (edge) => figure(rate, edge.requests_per_second), value: (edge) => edge.requests_per_second },
    { name: "Success", number: true, cell: (edge) => success(edge.success_rate, share), value: (edge) => edge.success_rate },
    { name: "p99", number: true, cell: (edge) => figure(milliseconds, edge.p99_ms), value: (edge) => edge.p99_ms },
  ];
  return section("Between workloads", table("pairs", columns, rows, { key: (edge) => `${edge.source} ${edge.destination_workload} ${edge.port}`, label: "Between workloads" }));
}
