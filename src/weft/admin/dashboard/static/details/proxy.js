// One proxy: what it has confirmed and what it was given, in words, with the file and line of each rule.

import { query } from "../api.js";
import { h } from "../dom.js";
import { ago, bytes, count, where } from "../format.js";
import { heading } from "../heading.js";
import { to, toWorkload } from "../place.js";
import { sh } from "../shell.js";
import { facts, section, table, terminal, unanswered } from "../table.js";
import { proxyState } from "../views/proxies.js";
import { yaml } from "../yaml.js";

const SECTIONS = ["routes", "clusters", "endpoints", "listeners", "secrets"];
const MOST = 200;

export function proxyDetail(place, name) {
  const answer = query("/v1/proxies", { every: 3 });
  const one = answer.value?.proxies.find((row) => row.name === name);
  const shown = SECTIONS.includes(place.part) ? place.part : "routes";
  const [workload, namespace] = [name.split(".").slice(0, -1).join("."), name.split(".").slice(-1)[0]];
  const tabs = h("nav", { class: "range", "aria-label": "Parts of the configuration" }, SECTIONS.map((part) => h("a", { href: to({ part: part === "routes" ? null : part }), "aria-current": part === shown ? "true" : null }, part)));
  return [
    heading("Proxy", name),
    unanswered(answer, "Proxies", "weft proxy status"),
    answer.value && !one && h("p", { class: "warn" }, "It is not connected now."),
    one && facts(["State", proxyState(one)], ["Revision", `${one.revision_acked} confirmed of ${one.revision}`], ["Workload", h("a", { href: toWorkload(`${namespace}/${workload}`) }, `${namespace}/${workload}`)], ["Identity", h("span", { class: "mono" }, one.identity)], ["Certificate ends", ago(one.certificate_expires)], ["Connected", ago(one.connected_since)], ["Sent", bytes(one.bytes_sent)]),
    one?.last_nack && section("Refused last", h("p", { class: "problem error" }, h("b", { class: "bad" }, `${one.last_nack.type} ${one.last_nack.resource}: `), one.last_nack.message, (one.last_nack.origins ?? []).map((origin) => [" ", where(`${origin.source}:${origin.line}`)]))),
    one && section("Resources", kinds(one)),
    one && h("section", null, h("h2", null, "What it has"), tabs, config(name, shown)),
    terminal(sh`weft proxy config ${workload} ${shown}`, "weft proxy status"),
  ];
}

function kinds(one) {
  const columns = [
    { name: "Type", cell: (row) => row.type },
    { name: "Subscribed", number: true, cell: (row) => (row.wildcard ? "all" : count(row.subscribed)) },
    { name: "Confirmed", number: true, cell: (row) => count(row.acked) },
    { name: "Pending", number: true, cell: (row) => h("span", { class: row.pending ? "warn" : null }, count(row.pending)) },
    { name: "Refused", number: true, cell: (row) => h("span", { class: row.rejected ? "bad" : null }, count(row.rejected)) },
  ];
  return table("types", columns, one.types, { key: (row) => row.type, label: "Resources by type" });
}

function config(name, part) {
  const answer = query(`/v1/proxies/${encodeURIComponent(name)}/config/${part}`, { every: 30 });
  const waiting = unanswered(answer, "Configuration", sh`weft proxy config ${name} ${part}`);
  if (waiting) return waiting;
  const resources = answer.value[part] ?? [];
  if (!resources.length) return h("p", { class: "soft" }, `It has no ${part}${part === "clusters" || part === "endpoints" ? ": they come when the application first calls a service" : ""}.`);
  const make = part === "routes" ? routes : resource;
  return h("div", { class: "list" }, resources.slice(0, MOST).map(make), resources.length > MOST && h("p", { class: "soft" }, `and ${resources.length - MOST} more`));
}

function resource(one) {
  const name = one.name ?? one.cluster_name ?? "";
  const what = [one.type, one.address && text(one.address), one.endpoints && `${one.endpoints.flatMap((group) => group.lb_endpoints ?? []).length} endpoints`, one.identity].filter(Boolean).join(", ");
  return h("details", { "data-key": name }, h("summary", null, h("code", null, name), " ", h("span", { class: "soft" }, what), " ", (one.origins ?? []).slice(0, 3).map((origin) => [where(origin), " "])), h("pre", { class: "text", tabindex: 0 }, yaml(one)));
}

const text = (address) => (address.socket_address ? `${address.socket_address.address}:${address.socket_address.port_value}` : address.envoy_internal_address?.server_listener_name ?? "");

function routes(table) {
  const hosts = table.virtual_hosts ?? [];
  return h("details", { "data-key": table.name, open: hosts.length < 30 }, h("summary", null, h("code", null, table.name), h("span", { class: "soft" }, ` ${hosts.length} ${hosts.length === 1 ? "host" : "hosts"}`)),
    h("ul", { class: "list" }, hosts.slice(0, MOST).map((host) => h("li", { "data-key": host.name }, h("h3", { class: "breaks" }, host.domains?.slice(0, 3).join(", ") ?? host.name),
      h("ul", null, (host.routes ?? []).slice(0, MOST).map((route) => h("li", { class: "breaks" }, matched(route.match ?? {}), " → ", target(route), " ", origin(route))))))));
}

// What a route matches, in words.
function matched(match) {
  const path = match.path ?? match.prefix ?? match.path_separated_prefix ?? match.safe_regex?.regex ?? (match.connect_matcher ? "CONNECT" : "");
  const kind = match.path ? "exactly " : match.safe_regex ? "matching " : "";
  const headers = (match.headers ?? []).map((one) => `${one.name}${one.string_match?.exact ? ` = ${one.string_match.exact}` : ""}`);
  const parameters = (match.query_parameters ?? []).map((one) => `?${one.name}`);
  return h("code", null, [kind + path, ...headers, ...parameters].filter(Boolean).join(" · ") || "anything");
}

function target(route) {
  if (route.redirect) return "redirect";
  if (route.direct_response) return `answers ${route.direct_response.status}`;
  const action = route.route ?? {};
  if (action.weighted_clusters) return action.weighted_clusters.clusters.map((one) => `${one.name} ${one.weight ?? 0}`).join(", ");
  return [action.cluster ?? action.cluster_header ?? "?", action.timeout && `timeout ${action.timeout}`].filter(Boolean).join(", ");
}

function origin(route) {
  const weft = route.metadata?.filter_metadata?.weft ?? {};
  const place = weft.src ?? weft.source ?? weft.origin;
  return place ? where(String(place)) : null;
}
