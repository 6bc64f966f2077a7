// Tables that sort by any column, and the small pieces that views are made of.

import { h } from "./dom.js";
import { level, NONE, reason } from "./format.js";
import { changed } from "./state.js";

const order = new Map(); // table -> {column, down}

// columns: {name, cell(row), value(row) to sort by, number, short: never on two lines}. `key(row)` names a row; `selected(row)` marks one.
export function table(name, columns, rows, { key, selected, label, classes }) {
  const sorting = order.get(name) ?? {};
  const column = columns.find((one) => one.name === sorting.column);
  const sorted = column ? [...rows].sort((one, other) => compare(column.value(one), column.value(other)) * (sorting.down ? -1 : 1)) : rows;
  const sort = (one) => () => {
    order.set(name, { column: one.name, down: sorting.column === one.name ? !sorting.down : Boolean(one.number) });
    changed();
  };
  const heading = (one) => {
    const state = column === one ? (sorting.down ? "descending" : "ascending") : null;
    const mark = state ? (sorting.down ? " ↓" : " ↑") : "";
    return h("th", { scope: "col", class: one.number ? "number" : null, "aria-sort": state }, one.value ? h("button", { type: "button", onclick: sort(one) }, one.name, mark) : one.name);
  };
  return h("div", { class: "wide", role: "region", tabindex: 0, "aria-label": label }, h("table", null,
    h("thead", null, h("tr", null, columns.map(heading))),
    h("tbody", null, sorted.map((row) => h("tr", { "data-key": key(row), "data-selected": selected?.(row), class: classes?.(row) }, columns.map((one) => h("td", { class: one.number ? "number" : one.short ? "short" : null }, one.cell(row))))))));
}

function compare(one, other) {
  const [a, b] = [one ?? -Infinity, other ?? -Infinity];
  return typeof a === "string" && typeof b === "string" ? a.localeCompare(b) : a < b || typeof b === "string" ? -1 : a > b ? 1 : 0;
}

// A number with its unit; why it is none, for who points at it.
export function figure(text, value, classes = "") {
  const why = reason(value);
  return h("span", { class: why ? "soft" : classes || null, title: why }, text(value));
}

// A success rate: with a sign besides the colour when it is not well.
export function success(value, text) {
  const how = level(value);
  return figure((one) => (how ? `${how === "bad" ? "◆" : "▲"} ${text(one)}` : text(one)), value, how);
}

export function figures(...pairs) {
  return h("div", { class: "figures" }, pairs.filter(Boolean).map(([name, value]) => h("div", null, h("span", { class: "value" }, value), h("span", { class: "name" }, name))));
}

export function facts(...pairs) {
  const shown = pairs.filter((pair) => pair && pair[1] !== null && pair[1] !== undefined && pair[1] !== "" && pair[1]?.length !== 0);
  return h("dl", { class: "facts" }, shown.map(([name, value]) => [h("dt", null, name), h("dd", null, value)]));
}

export function section(title, ...content) {
  return h("section", null, h("h2", null, title), content);
}

// What would be here, and the command that makes it so.
export function empty(title, text, command) {
  return h("div", { class: "empty" }, h("h2", null, title), h("p", null, text), command && h("code", null, command));
}

export function view(title, actions, content, commands) {
  return h("div", { class: "view" }, h("header", null, h("h1", null, title), actions && h("div", { class: "actions" }, actions)), content, terminal(...[commands].flat()));
}

export function terminal(...commands) {
  const copy = (text) => async (event) => {
    const button = event.target;
    await navigator.clipboard.writeText(text).then(() => { button.textContent = "Copied"; }, () => { button.textContent = "Not allowed"; });
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  };
  return h("footer", { class: "terminal" }, "The same in the terminal:", commands.map((one) => [h("code", null, one), h("button", { type: "button", class: "quiet", "aria-label": `Copy ${one}`, onclick: copy(one) }, "Copy")]));
}

// What stands where an answer is not there: waiting, missing from this control plane, or an error. Null when there is one.
export function unanswered(answer, what, command) {
  if (answer.value !== undefined) return null;
  if (answer.missing) return empty(`${what}: not here`, "This control plane does not tell it.", command);
  if (answer.error) return h("p", { class: "bad" }, answer.error);
  return h("p", { class: "soft" }, "Asking the control plane …");
}

export const dash = () => h("span", { class: "soft" }, NONE);

// A filter field over a table; what was typed is in the address.
export function filter(value, change, label) {
  return h("input", { class: "filter", type: "search", placeholder: label, "aria-label": label, value: value ?? "", oninput: (event) => change(event.target.value) });
}

// The health of an endpoint or workload.
export function health(word) {
  const good = word.toUpperCase() === "HEALTHY";
  return h("span", { class: `chip ${good ? "good" : "bad"}` }, `${good ? "●" : "◆"} ${word.toLowerCase()}`);
}
