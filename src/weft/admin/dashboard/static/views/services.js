// All services with their numbers.

import { query } from "../api.js";
import { h } from "../dom.js";
import { count, milliseconds, rate, share } from "../format.js";
import { go, readPlace, to, toDetail } from "../place.js";
import { empty, figure, filter, success, table, unanswered, view } from "../table.js";
import { graphOf, window } from "../traffic.js";

export function servicesView(place) {
  const answer = query("/v1/services");
  const graph = graphOf(place);
  const nodes = new Map((graph.value?.nodes ?? []).map((node) => [node.id, node]));
  const commands = ["weft get services -A", `weft stat --by service --window ${window(place)}`];
  const waiting = unanswered(answer, "Services", "weft get services");
  if (waiting) return view("Services", null, waiting, commands);
  const rows = answer.value.services.map((one) => ({ id: `${one.namespace}/${one.name}`, ...one, node: nodes.get(`${one.namespace}/${one.name}`), ...health(one) }));
  const shown = rows.filter((row) => row.id.includes(place.filter ?? ""));
  if (!rows.length) return view("Services", null, empty("No services yet", "A Service names a port and selects workloads by their labels.", "weft apply -f service.yaml"), commands);
  const number = (name, member, text) => ({ name, number: true, cell: (row) => figure(text, graph.value ? (row.node?.[member] ?? null) : undefined), value: (row) => row.node?.[member] });
  const columns = [
    { name: "Service", cell: (row) => [h("a", { href: toDetail("service", row.namespace, row.name) }, row.name), h("span", { class: "second" }, row.host)], value: (row) => row.name },
    { name: "Namespace", cell: (row) => row.namespace, value: (row) => row.namespace },
    number("Requests", "requests_per_second", rate),
    { name: "Success", number: true, cell: (row) => success(graph.value ? (row.node?.success_rate ?? null) : undefined, share), value: (row) => row.node?.success_rate },
    number("p99", "p99_ms", milliseconds),
    { name: "Endpoints", number: true, cell: (row) => h("span", { class: row.total && row.healthy < row.total ? (row.healthy ? "warn" : "bad") : null }, `${row.healthy} of ${row.total}`), value: (row) => row.healthy },
    { name: "Problems", number: true, cell: (row) => (row.node?.problems ? h("a", { href: to({ view: "problems" }), class: "warn" }, count(row.node.problems)) : "0"), value: (row) => row.node?.problems ?? 0 },
  ];
  const { open } = readPlace();
  return view(`Services`, filter(place.filter, (text) => go(to({ filter: text })), "Filter by name"),
    shown.length ? table("services", columns, shown, { key: (row) => row.id, label: "Services", selected: (row) => open[0] === "service" && open.slice(1).join("/") === row.id }) : h("p", { class: "soft" }, `None of ${rows.length} services has ‘${place.filter}’ in its name.`), commands);
}

export function health(service) {
  const endpoints = [...new Map(service.ports.flatMap((port) => port.endpoints).map((one) => [one.workload, one])).values()];
  return { total: endpoints.length, healthy: endpoints.filter((one) => one.health.toUpperCase() === "HEALTHY").length };
}
