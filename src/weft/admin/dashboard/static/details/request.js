// Requests that failed, and one of them explained.

import { query } from "../api.js";
import { h } from "../dom.js";
import { ago, milliseconds, where } from "../format.js";
import { heading } from "../heading.js";
import { toDetail, toObject } from "../place.js";
import { sh } from "../shell.js";
import { empty, terminal, unanswered } from "../table.js";
import { ladder } from "./explain.js";

const KEPT = "/v1/requests?failed=1&limit=200";

// The last failed requests to a service (or of all).
export function failuresDetail(_place, id = "") {
  const answer = query(KEPT, { every: 3 });
  const command = terminal("weft requests --failed", "weft explain REQUEST-ID");
  const waiting = unanswered(answer, "Failed requests", "weft requests --failed");
  const rows = failuresOf(id);
  return [heading("Failed requests", id || "all"), waiting ?? (rows.length ? h("div", { class: "list" }, rows.map(failure)) : empty("No failed request is kept", "The last failed requests stand here, each with the rule that decided and the reason in words.", "weft requests --failed --follow")), command];
}

// The last failed requests that a service had to do with, as far as they are kept; of all if none is named.
export function failuresOf(id) {
  const name = id.split("/").pop();
  const about = (one) => !id || [one.workload, one.peer, one.host, one.cluster].some((each) => each.includes(name));
  return (query(KEPT, { every: 3 }).value?.requests ?? []).filter((one) => one.failed && about(one));
}

export function failure(one) {
  return h("article", { class: "problem error", "data-key": `${one.id} ${one.time} ${one.workload} ${one.side}` },
    h("p", null, h("b", { class: "bad" }, `◆ ${one.status || "no answer"} `), h("span", { class: "mono breaks" }, `${one.method} ${one.host}${one.path}`), h("span", { class: "soft" }, ` ${milliseconds(one.duration_ms)}`)),
    one.meaning && h("p", { class: "breaks" }, one.meaning),
    h("p", { class: "where" }, ago(one.time), ` ${one.workload} ${one.side}`, one.peer ? ` with ${one.peer}` : "", " ", one.object && objectOf(one.object), " ", one.source && where(one.source), " ", one.id && h("a", { href: toDetail("request", one.id) }, "explain")));
}

const objectOf = (text) => (toObject(text) ? h("a", { href: toObject(text) }, text) : text);

// One request by its id, hop by hop.
export function requestDetail(_place, id) {
  const answer = query(`/v1/requests/explain?id=${encodeURIComponent(id)}`, { every: 10 });
  const command = terminal(sh`weft explain ${id}`);
  if (answer.value) return [heading("Request", id), ladder(answer.value), command];
  const gone = answer.error && empty("Not kept", answer.error, "weft requests --failed");
  return [heading("Request", id), gone || unanswered(answer, "Requests", sh`weft explain ${id}`), command];
}
