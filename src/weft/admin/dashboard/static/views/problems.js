// What is wrong now: findings with the command that mends each, and the problems of documents and proxies.

import { query } from "../api.js";
import { h } from "../dom.js";
import { fileLine, where } from "../format.js";
import { toDetail, toDocument, toObject } from "../place.js";
import { state } from "../state.js";
import { empty, section, unanswered, view } from "../table.js";

const SHOWN = 200;

export function problemsView() {
  const live = state.picture.findings?.findings ? { value: state.picture.findings } : query("/v1/check", { every: 5 });
  if (live.missing) return documentsOnly();
  const waiting = unanswered(live, "Problems", "weft check");
  if (waiting) return view("Problems", null, waiting, ["weft check"]);
  const { findings, passed } = live.value;
  return view("Problems", null, [
    findings.length ? h("div", { class: "list" }, findings.slice(0, SHOWN).map(finding)) : nothing(),
    findings.length > SHOWN && h("p", { class: "soft" }, `and ${findings.length - SHOWN} more`),
    passed.length > 0 && section("What is well", h("ul", { class: "passed" }, passed.map((text) => h("li", null, h("span", { class: "good", "aria-hidden": "true" }, "● "), text)))),
  ], ["weft check", "weft problems"]);
}

const nothing = () => empty("Nothing is wrong", "Here stands what keeps a document out of force, what a proxy refuses, and what does not work although it should, each with its file and line and the command that mends it.", "weft check --watch");

// A control plane without checks: what is wrong in documents and proxies.
function documentsOnly() {
  const answer = state.picture.problems ? { value: state.picture.problems } : query("/v1/problems", { every: 3 });
  const waiting = unanswered(answer, "Problems", "weft problems");
  const problems = answer.value?.problems ?? [];
  return view("Problems", null, waiting ?? (problems.length ? h("div", { class: "list" }, problems.map(problem)) : nothing()), ["weft problems"]);
}

function finding(one) {
  const severity = one.severity === "error" ? "error" : "warning";
  return h("article", { class: `problem ${severity}`, "data-key": `${one.code} ${one.object} ${one.message}` },
    h("p", null, h("b", { class: severity === "error" ? "bad" : "warn" }, `${severity === "error" ? "◆" : "▲"} ${severity}: `), one.message),
    h("p", { class: "where" }, about(one), " ", one.source && one.source !== one.about && where(one.source), ` ${one.code} ${one.number ?? ""}`),
    one.fix && h("p", { class: "fix" }, h("span", { class: "soft" }, "Mend it: "), h("code", null, one.fix)));
}

function about(one) {
  const href = typeof one.object === "string" ? toObject(one.object) : one.object ? toDocument(one.object) : null;
  const name = typeof one.object === "string" ? one.object : one.object ? objectName(one.object) : (one.about ?? "");
  return name ? (href ? h("a", { href }, name) : h("span", null, name)) : null;
}

const objectName = (key) => `${key.kind} ${key.namespace ? `${key.namespace}/` : ""}${key.name}`;

// One Problem of the control plane.
export function problem(one) {
  const workload = /^workload ([^/]+)\/(.+)$/.exec(one.source ?? "");
  return h("article", { class: `problem ${one.severity}`, "data-key": `${one.code} ${one.source} ${one.line} ${one.path} ${one.message}` },
    h("p", null, h("b", { class: one.severity === "error" ? "bad" : "warn" }, `${one.severity === "error" ? "◆" : "▲"} ${one.severity}: `), one.path && h("code", null, one.path), one.path && ": ", one.message),
    one.expected && h("p", null, h("span", { class: "soft" }, "Expected "), one.expected),
    one.nearest && h("p", null, h("span", { class: "soft" }, "Did you mean "), h("b", null, one.nearest), "?"),
    h("p", { class: "where" }, one.object && h("a", { href: toDocument(one.object) }, objectName(one.object)), workload && h("a", { href: toDetail("workload", workload[1], workload[2]) }, "workload"),
      " ", where(fileLine(one.source, one.line)), ` ${one.code}`));
}
