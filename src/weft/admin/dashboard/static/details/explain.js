// Why: the hops of one request as a ladder, for a request that was made or for one that is described here.

import { call, query } from "../api.js";
import { h } from "../dom.js";
import { duration, instant, milliseconds, share, where } from "../format.js";
import { heading } from "../heading.js";
import { go, to, toDetail, toObject } from "../place.js";
import { sh } from "../shell.js";
import { changed } from "../state.js";
import { health, section, terminal } from "../table.js";

const MOST = 30;
const asked = { text: "", answer: null, error: "", missing: false };

export function explainDetail(place) {
  const workloads = (query("/v1/workloads", { every: 15 }).value?.workloads ?? []).map((one) => `${one.namespace}/${one.name}`).sort();
  if (place.url) ask(place);
  const submit = (event) => {
    event.preventDefault();
    asked.text = "";
    go(to({ ...Object.fromEntries(new FormData(event.target)) }));
  };
  const form = h("form", { class: "form", onsubmit: submit, "data-key": "explain-form" },
    h("label", { class: "whole" }, "From workload", h("input", { name: "from", list: "explain-workloads", value: place.from ?? "", placeholder: "default/productpage-v1", autocomplete: "off" }), h("datalist", { id: "explain-workloads" }, workloads.map((one) => h("option", { value: one })))),
    h("label", { class: "whole" }, "URL", h("input", { name: "url", required: true, value: place.url ?? "", placeholder: "http://reviews:9080/", autocomplete: "off" })),
    h("label", null, "Method", h("input", { name: "method", value: place.method ?? "GET", autocomplete: "off" })),
    h("label", null, "Header (name: value)", h("input", { name: "header", value: place.header ?? "", autocomplete: "off" })),
    h("button", { class: "main whole" }, "Explain"));
  const command = (place.from ? sh`weft explain --from ${place.from}` : "weft explain") + sh` ${place.method || "GET"} ${place.url || "URL"}` + (place.header ? sh` -H ${place.header}` : "");
  return [heading("Explain", place.url ? `${place.method ?? "GET"} ${place.url}` : "A request"), form, place.url ? explained() : h("p", { class: "soft" }, "Which proxy takes it, which rule decides at which line, where it goes, and what would be answered: from what is in force now, without sending anything."), terminal(command)];
}

async function ask(place) {
  const [name, ...value] = (place.header ?? "").split(":");
  const body = { url: place.url, method: place.method || "GET", headers: name && value.length ? { [name.trim()]: value.join(":").trim() } : {} };
  if (place.from) body.from = place.from;
  const text = JSON.stringify(body);
  if (asked.text === text) return;
  Object.assign(asked, { text, answer: null, error: "", missing: false });
  try {
    const answer = await call("POST", "/v1/explain", body);
    if (asked.text === text) asked.answer = answer;
  } catch (error) {
    if (/nothing at this path/.test(error.message)) asked.missing = true;
    else asked.error = error instanceof TypeError ? "the control plane does not answer" : error.message;
  }
  changed();
}

function explained() {
  if (asked.missing) return h("p", { class: "soft" }, "This control plane does not explain requests.");
  if (asked.error) return h("p", { class: "bad", role: "alert" }, asked.error);
  return asked.answer ? ladder(asked.answer) : h("p", { class: "soft" }, "Asking the control plane …");
}

// An answer of the API about one request.
export function ladder(found) {
  return [answer(found.answer, found.causes), found.changed?.length > 0 && changes(found.changed),
    section("Hops", found.hops?.length ? h("ol", { class: "ladder" }, found.hops.map(hop)) : h("p", { class: "soft" }, "It does not get to any proxy."))];
}

const GOOD = new Set(["forwarded", "answered"]);

function answer(value, causes) {
  const bad = !GOOD.has(value.outcome) || value.status >= 500;
  return h("div", { class: `answer ${bad ? "bad" : ""}`, role: "status" }, h("p", null, h("b", null, `${bad ? "◆ " : "● "}${value.status ?? value.outcome} `), value.text), causes?.length > 0 && h("ul", { class: "list" }, causes.map(cause)));
}

function cause(one) {
  return h("li", { class: "breaks" }, h("span", { class: one.severity === "error" ? "bad" : "warn" }, one.severity === "error" ? "◆ " : "▲ "), one.text, one.object && [" ", objectOf(one.object)], one.source && [" ", where(one.source)],
    one.fix && h("p", null, h("span", { class: "soft" }, "Mend it: "), h("code", null, one.fix)));
}

function changes(rows) {
  const one = (row) => h("li", { class: "breaks" }, h("a", { href: toDetail("revision", row.revision) }, `since revision ${row.revision}`), row.time && `, ${duration((Date.now() - instant(row.time)) / 1000)} ago: `, row.source && where(row.source), " ", objectOf(row.object), ` ${row.action ?? "changed"}`, row.who && h("span", { class: "soft" }, ` by ${row.who}`));
  return section("What changed before", h("ul", { class: "list" }, rows.map(one)));
}

const objectOf = (text) => (toObject(text) ? h("a", { href: toObject(text) }, text) : text ?? "");

function hop(one, index) {
  const bad = one.status >= 500 || (one.endpoints?.length > 0 && one.endpoints.every((each) => each.health !== "healthy"));
  return h("li", { class: bad ? "failing" : null, "data-key": `${index}` }, h("div", { class: "rung", "aria-hidden": "true" }, h("b", null, index + 1), h("i")),
    h("div", { class: "hop" },
      h("p", null, h("a", { href: toDetail("proxy", one.proxy) }, h("b", null, one.proxy)), one.side && h("span", { class: "soft" }, ` ${one.side}`), one.status && [" ", h("span", { class: bad ? "bad" : "soft" }, one.status)], one.flags && [" ", h("span", { class: "chip bad" }, one.flags)], one.duration_ms !== null && one.duration_ms !== undefined && h("span", { class: "soft" }, ` ${milliseconds(one.duration_ms)}`), one.attempts > 1 && h("span", { class: "warn" }, ` ${one.attempts} tries`)),
      one.meaning && h("p", { class: bad ? "bad" : null }, one.meaning),
      one.rule && h("p", { class: "breaks" }, h("span", { class: "soft" }, "rule "), objectOf(one.rule.object), " ", one.rule.source && where(one.rule.source)),
      one.match && h("p", { class: "breaks" }, h("span", { class: "soft" }, "for "), h("code", null, one.match)),
      list(one.does), list(one.verdicts), tried(one.tried),
      one.split?.length > 1 && h("ul", null, one.split.map((part) => h("li", { class: "breaks" }, `${share(part.share)} `, h("code", null, part.cluster || "answered by the proxy")))),
      one.cluster && h("p", { class: "breaks" }, h("span", { class: "soft" }, "to "), h("code", null, one.cluster)),
      one.transport && h("p", { class: "soft" }, one.transport),
      one.upstream && h("p", { class: "breaks" }, h("span", { class: "soft" }, "endpoint "), h("code", null, one.upstream)),
      one.endpoints?.length > 0 && h("ul", null, one.endpoints.slice(0, MOST).map((each) => h("li", { class: "breaks" }, h("code", null, each.address), " ", each.workload, " ", health(each.health), each.note && h("span", { class: "soft" }, ` ${each.note}`))))));
}

const list = (texts) => texts?.length > 0 && h("ul", null, texts.map((text) => h("li", { class: "breaks" }, text)));

// The rules that were tried before the one that decides, each with what the request does not meet.
function tried(rows) {
  const missed = (rows ?? []).filter((row) => row.why?.length);
  if (!missed.length) return null;
  return h("details", null, h("summary", null, `${missed.length} ${missed.length === 1 ? "rule was" : "rules were"} tried before`), h("ul", { class: "list" }, missed.slice(0, MOST).map((row) => h("li", { class: "breaks" }, row.rule ? [objectOf(row.rule.object), " ", where(row.rule.source)] : row.name, h("span", { class: "soft" }, ` ${row.match}: ${row.why.join("; ")}`)))));
}
