// One document: where it stands, whether it is in force, what is wrong with it, and its text.

import { query } from "../api.js";
import { h } from "../dom.js";
import { ago, fileLine, milliseconds, rate, share, where } from "../format.js";
import { heading } from "../heading.js";
import { toDetail } from "../place.js";
import { sh } from "../shell.js";
import { facts, figure, figures, section, success, terminal, unanswered } from "../table.js";
import { seconds } from "../traffic.js";
import { problemsOf, verdict } from "../views/documents.js";
import { objectText } from "../views/history.js";
import { problem } from "../views/problems.js";
import { yaml } from "../yaml.js";

const OWNERS = {
  file: "a followed file: change it there",
  api: "the admin API: change it with weft apply",
  kubernetes: "Kubernetes: change it with kubectl",
};

export function documentDetail(place, kind, namespace, name) {
  const answer = query(`/v1/documents/${[kind, namespace, name].map(encodeURIComponent).join("/")}`);
  const listed = query("/v1/documents").value?.documents.find((one) => one.key.kind === kind && (one.key.namespace || "-") === namespace && one.key.name === name);
  const one = answer.value ?? listed;
  const id = namespace === "-" ? name : `${namespace}/${name}`;
  const commands = terminal(sh`weft describe ${kind.toLowerCase()} ${name}` + (namespace === "-" ? "" : sh` -n ${namespace}`), sh`weft history ${kind.toLowerCase()} ${name}`);
  if (!one) return [heading(kind, id), answer.error ? h("p", { class: "warn" }, answer.error) : unanswered(answer, "Documents", "weft get all"), commands];
  const problems = problemsOf(one.key);
  return [
    heading(kind, id),
    facts(["State", verdict(one)], ["Where", where(fileLine(one.source, one.line))], ["Owner", OWNERS[one.owner]], ["Since", one.created ? ago(one.created) : null], ["Generation", one.generation]),
    traffic(place, `${kind} ${id}`),
    problems.length > 0 && section("Problems", h("div", { class: "list" }, problems.map(problem))),
    conditions(one),
    changes(`${kind} ${id}`),
    section("Text", h("pre", { class: "text", tabindex: 0, role: "region", "aria-label": "Text of the document" }, yaml(one.document))),
    commands,
  ];
}

// Requests that its rules decided.
function traffic(place, object) {
  const rows = (query(`/v1/traffic?window=${seconds(place)}&by=route`, { every: 5 }).value?.edges ?? []).filter((one) => one.route === object);
  if (!rows.length) return null;
  return rows.map((one) => section(`Requests that it decided${rows.length > 1 ? `, to ${one.destination}` : ""}`, figures(["requests", figure(rate, one.requests_per_second)], ["success", success(one.success_rate, share)], ["p50", figure(milliseconds, one.p50_ms)], ["p99", figure(milliseconds, one.p99_ms)])));
}

function conditions(one) {
  const rows = [...(one.conditions ?? []), ...(one.parents ?? []).flatMap((parent) => (parent.conditions ?? []).map((condition) => ({ ...condition, of: parent.parent ?? parent.name ?? "" }))), ...(one.listeners ?? []).flatMap((listener) => (listener.conditions ?? []).map((condition) => ({ ...condition, of: listener.name })))];
  if (!rows.length) return null;
  const of = (row) => (row.of && typeof row.of === "object" ? objectText(row.of) : row.of);
  return section("Conditions", h("ul", { class: "list" }, rows.map((row) => h("li", null, h("span", { class: `chip ${row.status === "True" ? "good" : "warn"}` }, `${row.status === "True" ? "●" : "▲"} ${row.type}${row.status === "True" ? "" : ` is ${row.status}`}`), " ", row.reason, of(row) && h("span", { class: "soft" }, ` ${of(row)}`), row.message && h("span", { class: "soft breaks" }, `: ${row.message}`)))));
}

function changes(object) {
  const found = (query("/v1/history?limit=200", { every: 15 }).value?.revisions ?? []).filter((one) => one.objects.some((each) => objectText(each) === object)).slice(0, 5);
  if (!found.length) return null;
  return section("Changed", h("ul", { class: "list" }, found.map((one) => h("li", null, h("a", { href: toDetail("revision", one.revision) }, `revision ${one.revision}`), " ", ago(one.time), h("span", { class: "soft" }, ` ${one.action} by ${one.who}`)))));
}
