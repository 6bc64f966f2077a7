// One service: traffic over time, who calls it, whom it calls, the rules that apply, endpoints, problems, failures.

import { query } from "../api.js";
import { golden } from "../chart.js";
import { h } from "../dom.js";
import { milliseconds, rate, share, where } from "../format.js";
import { heading } from "../heading.js";
import { to, toDetail, toDocument, toService, toWorkload } from "../place.js";
import { sh } from "../shell.js";
import { state } from "../state.js";
import { facts, figure, figures, health, section, success, table, terminal, unanswered } from "../table.js";
import { graphOf, seriesOf, window } from "../traffic.js";
import { about, verdict } from "../views/documents.js";
import { problem } from "../views/problems.js";
import { failure, failuresOf } from "./request.js";

export function serviceDetail(place, namespace, name) {
  const id = namespace ? `${namespace}/${name}` : name;
  const graph = graphOf(place).value;
  const node = graph?.nodes.find((one) => one.id === id);
  const service = query("/v1/services").value?.services.find((one) => one.namespace === namespace && one.name === name);
  const kind = node?.kind === "gateway" ? "Gateway" : node?.kind === "outside" ? "Outside the mesh" : "Service";
  const calls = graph?.edges ?? [];
  return [
    heading(kind, id),
    numbers(node, graph),
    failing(node, id, calls),
    traffic(place, kind, id),
    edges("Called by", calls.filter((edge) => edge.to === id), "from", "Nobody has called it in this time."),
    edges("Calls", calls.filter((edge) => edge.from === id), "to", "It has called nobody in this time."),
    rules(namespace, name, service),
    service && section("Endpoints", endpoints(service)),
    problems(namespace, name),
    service && section("Address", facts(["Host", h("code", null, service.host)], ["Ports", service.ports.map((port) => `${port.port} ${port.name} ${port.protocol}`).join(", ")], ["Declared at", where(`${service.origin.source}:${service.origin.line}`)])),
    terminal(sh`weft stat ${id} --window ${window(place)}`, sh`weft describe service ${name} -n ${namespace || "default"}`),
  ];
}

export function numbers(node, graph) {
  const value = (member) => (graph ? (node?.[member] ?? null) : undefined);
  return figures(["requests", figure(rate, value("requests_per_second"))], ["success", success(value("success_rate"), share)], ["p99", figure(milliseconds, value("p99_ms"))]);
}

// Charts of the chosen time, with the moments of changes.
function traffic(place, kind, id) {
  const filters = kind === "Gateway" ? `&workload=${encodeURIComponent(id)}` : `&destination=${encodeURIComponent(id)}`;
  return charts(seriesOf(place, filters));
}

export function charts(series) {
  const waiting = unanswered(series, "Time series", "weft stat --watch");
  const changes = (query("/v1/history?limit=200", { every: 15 }).value?.revisions ?? []).map((one) => new Date(one.time).getTime());
  return section("Over time", waiting ?? golden(series.value, changes));
}

export function edges(title, rows, side, none) {
  if (!rows.length) return section(title, h("p", { class: "soft" }, none));
  const columns = [
    { name: side === "from" ? "Caller" : "Callee", cell: (edge) => h("a", { href: toService(edge[side]) }, edge[side].replace(/^workload /, "")), value: (edge) => edge[side] },
    { name: "Requests", number: true, cell: (edge) => (edge.intent ? h("span", { class: "soft" }, "meant, unused") : h("a", { href: toDetail("edge", edge.from, edge.to) }, rate(edge.requests_per_second))), value: (edge) => edge.requests_per_second },
    { name: "Success", number: true, cell: (edge) => success(edge.success_rate, share), value: (edge) => edge.success_rate },
    { name: "p99", number: true, cell: (edge) => figure(milliseconds, edge.p99_ms), value: (edge) => edge.p99_ms },
  ];
  return section(title, table(title, columns, rows, { key: (edge) => edge[side], label: title }));
}

function rules(namespace, name, service) {
  const documents = query("/v1/documents").value?.documents;
  if (!documents) return null;
  const hosts = new Set([name, `${name}.${namespace}`, `${name}.${namespace}.svc`, service?.host]);
  const says = (one) => {
    const text = about(one.document.spec ?? {}).split(", ").map((host) => host.replace(/:\d+$/, ""));
    return text.some((host) => hosts.has(host) && (host !== name || one.key.namespace === namespace)) || routed(one.document.spec ?? {}, name, one.key.namespace === namespace);
  };
  const found = documents.filter((one) => !["Service", "ServiceAccount", "Namespace"].includes(one.key.kind) && says(one));
  if (!found.length) return section("Rules", h("p", { class: "soft" }, "No document routes it or says how it is called: requests go to every healthy endpoint."));
  return section("Rules", h("ul", { class: "list" }, found.map((one) => h("li", { "data-key": `${one.key.kind}/${one.key.name}` }, h("a", { href: toDocument(one.key) }, `${one.key.kind} ${one.key.name}`), " ", where(`${one.source}:${one.line}`), " ", verdict(one)))));
}

// Whether a route of the Gateway API sends to this service.
function routed(spec, name, near) {
  return near && Array.isArray(spec.rules) && spec.rules.some((rule) => rule.backendRefs?.some((one) => one.name === name));
}

function endpoints(service) {
  const rows = service.ports.flatMap((port) => port.endpoints.map((one) => ({ ...one, port })));
  if (!rows.length) return h("p", { class: "soft" }, service.external_name ? `It stands for ${service.external_name}.` : "No workload has the labels that it selects.");
  const columns = [
    { name: "Workload", cell: (one) => h("a", { href: toWorkload(`${service.namespace}/${one.workload}`) }, one.workload), value: (one) => one.workload },
    { name: "Health", cell: (one) => health(one.health), value: (one) => one.health },
    { name: "Address", cell: (one) => h("span", { class: "mono" }, one.address), value: (one) => one.address },
  ];
  return table("endpoints", columns, rows, { key: (one) => `${one.port.port} ${one.workload}`, label: "Endpoints" });
}

function problems(namespace, name) {
  const found = (state.picture.problems?.problems ?? []).filter((one) => (one.object?.namespace === namespace && one.object.name === name) || one.source === `workload ${namespace}/${name}`);
  return found.length > 0 && section("Problems", h("div", { class: "list" }, found.map(problem)));
}

// Any number of failures leads to an explanation, and so does a fault that a rule injects.
function failing(node, id, calls) {
  const injected = calls.some((edge) => edge.to === id && Object.keys(edge.flags).some((flags) => /\b(DI|FI)\b/.test(flags)));
  const fails = node && node.success_rate !== null && node.success_rate < 1;
  if (!injected && !fails) return null;
  const caller = calls.find((edge) => edge.to === id)?.from ?? "";
  const rows = failuresOf(id).slice(0, 3);
  return section("Why", [
    fails && h("p", null, h("a", { href: toDetail("failures", id) }, `${share(1 - node.success_rate)} of requests fail: see the last ones, each explained`)),
    rows.length > 0 && h("div", { class: "list" }, rows.map(failure)),
    injected && h("p", { class: "bad" }, "◆ a rule injects a fault into calls of it: ", h("a", { href: toExplain(caller, id) }, "see which")),
  ]);
}

// The explanation of a call between two services.
export function toExplain(from, id) {
  const [namespace, name] = id.split("/");
  const ports = query("/v1/services").value?.services.find((one) => one.namespace === namespace && one.name === name)?.ports ?? [];
  const port = ports[0]?.port && ports[0].port !== 80 ? `:${ports[0].port}` : "";
  return to({ open: ["explain"], from: from.replace(/^(workload|gateway) /, ""), url: `http://${name}${namespace === "default" ? "" : `.${namespace}`}${port}/`, method: null, header: null });
}
