// One workload: what it is, how it is called and calls, its proxy.

import { query } from "../api.js";
import { h } from "../dom.js";
import { ago, milliseconds, rate, share } from "../format.js";
import { heading } from "../heading.js";
import { to, toDetail, toService } from "../place.js";
import { sh } from "../shell.js";
import { facts, figure, figures, health, section, success, table, terminal, unanswered } from "../table.js";
import { edgesOf, encryption, seriesOf, total, window } from "../traffic.js";
import { charts } from "./service.js";

export function workloadDetail(place, namespace, name) {
  const id = `${namespace}/${name}`;
  const answer = query("/v1/workloads", { every: 5 });
  const one = answer.value?.workloads.find((row) => row.namespace === namespace && row.name === name);
  const traffic = edgesOf(place, `&workload=${encodeURIComponent(id)}`);
  const edges = traffic.value?.edges ?? [];
  const inbound = edges.filter((edge) => edge.destination_workload === id);
  const outbound = edges.filter((edge) => edge.source === id);
  const sum = traffic.value ? total(inbound.length ? inbound : outbound) : {};
  const waiting = unanswered(answer, "Workloads", "weft get workloads");
  return [
    heading("Workload", id),
    waiting,
    answer.value && !one && h("p", { class: "warn" }, "No such workload is registered now."),
    figures([inbound.length ? "requests answered" : "requests sent", figure(rate, sum.requests_per_second)], ["success", success(sum.success_rate, share)], ["p99", figure(milliseconds, sum.p99_ms)]),
    charts(seriesOf(place, `&workload=${encodeURIComponent(id)}`)),
    calls("Called by", inbound, (edge) => edge.source, "Nobody has called it in this time."),
    calls("Calls", outbound, (edge) => edge.destination, "It has called nobody in this time."),
    one && registered(one, id),
    terminal(sh`weft stat ${id} --window ${window(place)}`, sh`weft tap ${id}`, sh`weft proxy config ${name} all`),
  ];
}

function calls(title, rows, other, none) {
  if (!rows.length) return section(title, h("p", { class: "soft" }, none));
  const columns = [
    { name: "With", cell: (edge) => (other(edge) ? h("a", { href: toService(other(edge) === edge.source ? `workload ${edge.source}` : edge.destination) }, other(edge)) : "a caller without proxy"), value: other },
    { name: "Requests", number: true, cell: (edge) => figure(rate, edge.requests_per_second), value: (edge) => edge.requests_per_second },
    { name: "Success", number: true, cell: (edge) => success(edge.success_rate, share), value: (edge) => edge.success_rate },
    { name: "p99", number: true, cell: (edge) => figure(milliseconds, edge.p99_ms), value: (edge) => edge.p99_ms },
    { name: "Encryption", cell: (edge) => h("span", { class: edge.mtls === false ? "bad" : "soft" }, encryption(edge.mtls)), value: (edge) => encryption(edge.mtls) },
  ];
  return section(title, table(`workload ${title}`, columns, rows, { key: (edge) => `${edge.source} ${edge.destination} ${edge.destination_workload} ${edge.port}`, label: title }));
}

function registered(one, id) {
  const labels = Object.entries(one.labels ?? {}).map(([key, value]) => h("span", { class: "chip" }, `${key}=${value}`));
  return section("Registered as", facts(
    ["Health", one.health ? health(String(one.health)) : null],
    ["Proxy", [h("a", { href: toDetail("proxy", one.proxy) }, one.proxy), one.connected ? " connected" : h("span", { class: "bad" }, " not connected")]],
    ["Identity", one.service_account ?? null],
    ["Labels", labels.length ? labels.flatMap((chip) => [chip, " "]) : null],
    ["Lease ends", one.lease_expires ? ago(one.lease_expires) : null],
    ["Agent", one.agent_silent ? h("span", { class: "warn" }, "▲ not heard of lately") : null],
    ["Live requests", h("a", { href: to({ view: "tap", open: [], workload: id }) }, "tap this workload")]));
}
