// The heading of a detail, with the way to close it.

import { h } from "./dom.js";
import { to } from "./place.js";

export function heading(kind, name, ...more) {
  return h("header", null, h("div", null, h("p", { class: "kind" }, kind), h("h1", null, name), more), h("a", { class: "button close", href: to({ open: [] }), "aria-label": "Close", title: "Escape" }, "×"));
}
