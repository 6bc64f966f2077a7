// One revision: the diff of documents beside that of what proxies got, who confirmed, and the way back, which shows its diff first.

import { call, query, refresh } from "../api.js";
import { diff } from "../diff.js";
import { h } from "../dom.js";
import { ago, count, fileLine, where } from "../format.js";
import { heading } from "../heading.js";
import { toDetail, toObject } from "../place.js";
import { sh } from "../shell.js";
import { changed } from "../state.js";
import { facts, section, terminal, unanswered } from "../table.js";
import { confirmed, objectText } from "../views/history.js";
import { problem } from "../views/problems.js";

const LISTED = 50;
const undoing = { revision: "", plan: null, done: null, error: "", busy: false };

export function revisionDetail(_place, revision) {
  const answer = query(`/v1/history/${encodeURIComponent(revision)}`, { every: 5 });
  const commands = terminal(sh`weft history show ${revision}`, sh`weft undo ${revision} --wait`);
  const one = answer.value;
  if (!one) return [heading("Revision", revision), answer.error ? h("p", { class: "warn" }, answer.error) : unanswered(answer, "History", "weft history"), commands];
  return [
    heading("Revision", revision, h("p", { class: "soft" }, ago(one.time), ` by ${one.who}`)),
    facts(["Did", one.action], ["Objects", (one.objects ?? []).map((each) => [link(objectText(each)), h("br")])], ["Proxies changed", confirmed({ changed_proxies: 0, ...one })], ["Confirmed in", one.confirmed_ms === null || one.confirmed_ms === undefined ? null : `${count(one.confirmed_ms)} ms`], ["Pending", one.pending?.length ? one.pending.map((name) => [h("a", { href: toDetail("proxy", name) }, name), " "]) : null]),
    undo(revision),
    section("Documents", documents(one.documents)),
    section("What proxies got", resources(one.resources)),
    commands,
  ];
}

const link = (text) => (toObject(text) ? h("a", { href: toObject(text) }, text) : h("span", null, text));

function documents(rows) {
  if (!rows?.length) return h("p", { class: "soft" }, "No document changed.");
  return rows.map((one) => h("div", { class: "list", "data-key": objectText(one) }, h("p", null, link(objectText(one)), ` ${one.change} `, one.source && where(fileLine(one.source, one.line))), diff(one.diff ?? "")));
}

// Groups of proxies for which the same changed.
function resources(groups) {
  if (!groups?.length) return h("p", { class: "soft" }, "Nothing that proxies hold changed.");
  return groups.slice(0, LISTED).map((group) => {
    const counts = Object.entries(group.counts).flatMap(([type, words]) => Object.entries(words).map(([word, times]) => `${times} ${type} ${word}`)).join(", ");
    const names = `${group.proxies.slice(0, 4).join(", ")}${group.proxy_count > 4 ? ` and ${group.proxy_count - 4} more` : ""}`;
    return h("details", { "data-key": group.proxies.join() }, h("summary", null, h("b", null, names), `: ${counts}`),
      h("div", { class: "list" }, group.changes.slice(0, LISTED).map((one) => h("div", null, h("p", { class: "breaks" }, h("code", null, one.name), h("span", { class: "soft" }, ` ${one.type} ${one.change}`)), one.diff && diff(one.diff)))));
  });
}

function undo(revision) {
  if (undoing.revision !== revision) return h("p", null, h("button", { type: "button", onclick: () => plan(revision) }, "Undo this change …"));
  if (undoing.error) return section("Undo", h("p", { class: "bad", role: "alert" }, undoing.error), h("p", null, h("button", { type: "button", onclick: forget }, "Close")));
  if (undoing.done) return section("Undone", h("p", { class: "good", role: "status" }, `● In force again since revision ${undoing.done.revision}. ${waited(undoing.done.wait)}`), h("p", null, h("a", { href: toDetail("revision", undoing.done.revision), onclick: forget }, "Show that revision")));
  if (!undoing.plan) return section("Undo", h("p", { class: "soft" }, "Asking what it would change …"));
  return h("section", { "aria-label": "Undo" }, h("h2", null, "Undo would change this"), (undoing.plan.documents ?? []).map((one) => [h("p", null, objectText(one.key), ` ${one.change}`), diff(one.diff)]),
    (undoing.plan.left ?? []).map((one) => h("p", { class: "warn" }, `▲ ${objectText(one.key)} stays: ${one.reason}`)), (undoing.plan.problems ?? []).map(problem),
    h("p", null, h("button", { type: "button", class: "main", disabled: undoing.busy, onclick: () => carryOut(revision) }, undoing.busy ? "Waiting for proxies …" : "Undo it"), " ", h("button", { type: "button", onclick: forget }, "Leave it")));
}

function waited(wait) {
  if (!wait) return "";
  const late = wait.pending?.length ?? 0;
  return late ? `${late} proxies have not confirmed yet.` : `${wait.confirmed?.length ?? 0} proxies have confirmed.`;
}

function forget() {
  Object.assign(undoing, { revision: "", plan: null, done: null, error: "", busy: false });
  changed();
}

async function ask(revision, parameters) {
  try {
    return await call("POST", `/v1/history/${encodeURIComponent(revision)}/undo?${parameters}`);
  } catch (error) {
    undoing.error = error instanceof TypeError ? "the control plane does not answer" : error.message;
    return null;
  }
}

async function plan(revision) {
  Object.assign(undoing, { revision, plan: null, done: null, error: "", busy: false });
  changed();
  undoing.plan = await ask(revision, "dry_run=1");
  changed();
}

async function carryOut(revision) {
  undoing.busy = true;
  changed();
  undoing.done = await ask(revision, "wait=20");
  undoing.busy = false;
  refresh("/v1/");
}
