// A unified diff, line by line.

import { h } from "./dom.js";

const KINDS = [["+++", "hunk"], ["---", "hunk"], ["@@", "hunk"], ["+", "plus"], ["-", "minus"]];
const LONGEST = 2000;

export function diff(text) {
  if (!text) return h("p", { class: "soft" }, "Nothing that may be shown differs.");
  const lines = text.replace(/\n$/, "").split("\n");
  const shown = lines.slice(0, LONGEST).map((line) => h("code", { class: KINDS.find(([start]) => line.startsWith(start))?.[1] ?? null }, line));
  return h("div", { class: "diff", tabindex: 0, role: "region", "aria-label": "Difference" }, shown, lines.length > LONGEST && h("code", { class: "hunk" }, `… and ${lines.length - LONGEST} more lines`));
}
