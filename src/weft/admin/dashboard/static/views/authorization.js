// Who may call whom, by the policies in force, and who did, by identity.

import { query } from "../api.js";
import { h } from "../dom.js";
import { rate } from "../format.js";
import { toDetail, toService } from "../place.js";
import { empty, section, unanswered, view } from "../table.js";
import { encryption, graphOf } from "../traffic.js";

const MOST = 40;
const WORDS = { yes: "● yes", some: "▲ some", no: "◆ no", unconstrained: "○ open" };
const CLASSES = { yes: "good", some: "warn", no: "bad", unconstrained: "soft" };

export function authorizationView(place) {
  const commands = ["weft authz matrix", "weft edges"];
  const answer = query("/v1/authz/matrix", { every: 30 });
  const allowed = unanswered(answer, "Who may call whom", commands[0]) ?? policies(answer.value);
  return view("Who may call whom", null, [section("By policies", allowed), section("Seen", seen(place))], commands);
}

// The verdicts: callers and service ports with the same answers stand together, as in the terminal.
function policies(matrix) {
  if (!matrix.targets.length) return empty("No service selects workloads", "As soon as there is a service, its column stands here.", "weft get services");
  const columns = grouped(matrix.targets, (index) => matrix.cells.map((row) => row[index]).join());
  const rows = grouped(matrix.callers, (index) => columns.map((column) => matrix.cells[index][column[0]]).join());
  const notes = new Map();
  const cell = (number) => {
    const found = matrix.answers[number];
    if (found.reaches === "some" && !notes.has(number)) notes.set(number, notes.size + 1);
    const title = found.policies.map((one) => `${one.object} ${one.source}`).join("\n") || "no policy says anything here";
    return h("td", { class: CLASSES[found.reaches], title }, WORDS[found.reaches], notes.has(number) ? ` ${notes.get(number)}` : null);
  };
  const body = rows.slice(0, MOST).map((row) => h("tr", { "data-key": matrix.callers[row[0]].name },
    h("th", { scope: "row" }, names(row.map((index) => matrix.callers[index]))), columns.slice(0, MOST).map((column) => cell(matrix.cells[row[0]][column[0]]))));
  const hidden = rows.length > MOST || columns.length > MOST;
  return [
    h("p", { class: "soft" }, "Callers are service accounts; “nobody” has no certificate. Open: no policy says anything there, so everybody with a certificate of the mesh may call."),
    h("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "Who may call whom" }, h("table", { class: "matrix" },
      h("thead", null, h("tr", null, h("td", null, h("span", { class: "soft" }, "caller ↓ service →")), columns.slice(0, MOST).map((column) => h("th", { scope: "col" }, names(column.map((index) => matrix.targets[index])))))),
      h("tbody", null, body))),
    notes.size ? h("ol", { class: "notes" }, [...notes.keys()].map((number) => h("li", null, some(matrix.answers[number])))) : null,
    hidden ? h("p", { class: "soft" }, `The first ${MOST} are here; weft authz matrix -o html has all.`) : null,
  ];
}

// The indices of items with the same key, in the order in which they come.
function grouped(items, key) {
  const groups = new Map();
  items.forEach((_, index) => groups.set(key(index), [...(groups.get(key(index)) ?? []), index]));
  return [...groups.values()];
}

function names(group) {
  const all = group.map((one) => one.name + (one.gateway ? " (gateway)" : ""));
  return h("span", { title: all.join("\n") }, all[0], all.length > 1 ? h("span", { class: "soft" }, ` +${all.length - 1}`) : null);
}

// What an answer that is neither yes nor no depends on.
function some(answer) {
  const parts = [];
  if (answer.only.length) parts.push(`only ${answer.only.join(" or ")}`);
  if (answer.but.length) parts.push(`not ${answer.but.join(" or ")}`);
  if (answer.asks.length) parts.push(`if ${answer.asks.join(" and ")} agrees`);
  const places = answer.policies.map((one) => `${one.object} ${one.source}`).join(", ");
  return [parts.join("; "), places ? h("span", { class: "soft" }, ` (${places})`) : null];
}

function seen(place) {
  const answer = graphOf(place);
  const waiting = unanswered(answer, "Who called whom", "weft edges");
  if (waiting) return waiting;
  const edges = answer.value.edges.filter((edge) => !edge.intent);
  const text = h("p", { class: "soft" }, "Who did call whom in this time, and whether both proved who they are.");
  if (!edges.length) return [text, empty("No calls in this time", "As soon as one service calls another, its row and column stand here.", "weft edges")];
  const callers = [...new Set(edges.map((edge) => edge.from))].sort().slice(0, MOST);
  const callees = [...new Set(edges.map((edge) => edge.to))].sort().slice(0, MOST);
  const at = new Map(edges.map((edge) => [`${edge.from} ${edge.to}`, edge]));
  const short = (id) => id.replace(/^workload /, "");
  const cell = (edge) => (edge ? h("a", { href: toDetail("edge", edge.from, edge.to), class: edge.mtls === false ? "bad" : null, title: `${encryption(edge.mtls)}, ${rate(edge.requests_per_second)}` }, edge.mtls === false ? "◆ plaintext" : edge.mtls ? "● mutual TLS" : "? not known") : h("span", { class: "soft" }, "–"));
  return [text, h("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "Callers and callees" }, h("table", { class: "matrix" },
    h("thead", null, h("tr", null, h("td", null, h("span", { class: "soft" }, "caller ↓ callee →")), callees.map((one) => h("th", { scope: "col" }, h("a", { href: toService(one) }, short(one)))))),
    h("tbody", null, callers.map((from) => h("tr", { "data-key": from }, h("th", { scope: "row" }, h("a", { href: toService(from) }, short(from))), callees.map((toward) => h("td", null, cell(at.get(`${from} ${toward}`)))))))))];
}
