// The frame around every view: bar with search, range and health, the rail, notices, and the detail's place.

import { call } from "./api.js";
import { h, s } from "./dom.js";
import { ago } from "./format.js";
import { to, toView, VIEWS } from "./place.js";
import { search } from "./search.js";
import { changed, state } from "./state.js";

const ICONS = {
  graph: "M3 3h4v4H3zM11 2h3v3h-3zM11 11h3v3h-3zM7 5h2l2-1.500M7 5l4 7",
  services: "M2 4h12v3H2zM2 10h12v3H2zM4.500 5.500h.01M4.500 11.500h.01",
  routes: "M2 8h4c3 0 3-5 6-5h2M6 8c3 0 3 5 6 5h2M12 1l2 2-2 2M12 11l2 2-2 2",
  policies: "M8 1.500l5.500 2v4c0 3.500-2.500 5.800-5.500 7-3-1.200-5.500-3.500-5.500-7v-4z",
  proxies: "M8 2l5.500 3v6L8 14l-5.500-3V5zM2.500 5L8 8l5.500-3M8 8v6",
  problems: "M8 2l6.500 11.500h-13zM8 6.500v3.500M8 12h.01",
  history: "M2.500 8a5.500 5.500 0 1 0 2-4.200M2.500 2v3h3M8 5v3l2 2",
  tap: "M2 8h3l2-5 3 10 2-5h2",
  certificates: "M8 10a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM5.500 9.500L4.500 14.500 8 13l3.500 1.500-1-5",
  authorization: "M2 2h12v12H2zM6 2v12M10 2v12M2 6h12M2 10h12",
};
const RANGES = [[0, "Live"], [300, "5 min"], [3600, "1 h"], [86400, "24 h"]];
const THEMES = { "": "system", light: "light", dark: "dark" };

export function frame(place, view, detail) {
  const classes = ["app", detail && "with-detail", (state.away || state.signedOut) && "away"].filter(Boolean).join(" ");
  const node = h("div", { class: classes },
    h("header", { class: "bar" },
      h("a", { class: "skip", href: "#main", onclick: skip }, "Skip to the content"),
      h("a", { class: "brand", href: toView("graph") }, h("img", { src: "/static/icon.svg", alt: "" }), h("span", null, "weft")),
      search(place), h("span", { class: "space" }), ranges(place), pill()),
    rail(place),
    h("main", { id: "main", tabindex: -1, "data-key": place.view }, notices(), view.node),
    detail && h("aside", { class: "detail", id: "detail", tabindex: -1, "aria-label": `Detail: ${place.open.slice(-1)[0]}`, "data-key": place.open.join("/") }, detail));
  return { node, after: view.after };
}

function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

function ranges(place) {
  return h("nav", { class: "range", "aria-label": "Time range" }, RANGES.map(([seconds, name]) => h("a", { href: to({ range: seconds }), "aria-current": place.range === seconds ? "true" : null }, name)));
}

// Always there: green with nothing to say, or how much is wrong, which opens it.
function pill() {
  const health = state.picture.health;
  const href = toView("problems");
  const told = (how, text) => h("span", { role: "status" }, h("a", { class: `pill ${how}`, href }, text));
  if (state.away || !health) return told("", state.away ? "Away" : "…");
  const found = state.picture.findings?.findings;
  const wrong = found ? found.length : health.errors + health.warnings;
  const bad = health.status !== "ok" || (found ? found.some((one) => one.severity === "error") : health.errors > 0);
  const how = bad ? "bad" : wrong ? "warn" : "good";
  const text = wrong ? `${bad ? "◆" : "▲"} ${wrong} ${wrong === 1 ? "finding" : "findings"}` : bad ? "◆ degraded" : "● All well";
  return told(how, text);
}

function rail(place) {
  const problems = state.picture.findings?.findings?.length ?? (state.picture.health?.errors ?? 0) + (state.picture.health?.warnings ?? 0);
  const badge = { problems: problems || null, proxies: state.picture.health?.proxies_pending || null };
  const link = (name, index) => h("a", { href: toView(name), "aria-current": place.view === name ? "page" : null, title: index < 9 ? `${title(name)} (${index + 1})` : title(name) },
    s("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, s("path", { d: ICONS[name] })), h("span", { class: "label" }, title(name)), badge[name] && h("span", { class: "badge" }, badge[name], h("span", { class: "hidden" }, name === "proxies" ? " pending" : " now")));
  return h("nav", { class: "rail", "aria-label": "Views" }, VIEWS.map(link),
    h("div", { class: "foot" }, h("button", { type: "button", class: "quiet", onclick: theme }, `Theme: ${THEMES[localStorage.getItem("weft-theme") ?? ""]}`),
      h("button", { type: "button", class: "quiet", onclick: leave }, "Sign out"),
      h("span", null, `weft ${state.picture.health?.version ?? ""}`), h("span", null, `revision ${state.picture.health?.compiled ?? "?"}`)));
}

export const title = (name) => name[0].toUpperCase() + name.slice(1);

function theme() {
  const names = Object.keys(THEMES);
  const next = names[(names.indexOf(localStorage.getItem("weft-theme") ?? "") + 1) % names.length];
  localStorage.setItem("weft-theme", next);
  document.documentElement.dataset.theme = next;
  changed();
}

async function leave() {
  await call("DELETE", "/v1/session");
  state.signedOut = true;
  changed();
}

function notices() {
  const anew = state.signedOut && h("p", { class: "notice", role: "alert", "data-key": "anew" }, h("b", null, "This session has ended"), h("span", null, "after twelve hours, or because the control plane was started anew. What is shown is the last that was heard. Get another address with"), h("code", null, "weft dashboard"));
  const away = !state.signedOut && state.away && h("p", { class: "notice", role: "alert", "data-key": "away" },
    h("b", null, "The control plane is away"), state.since && h("span", null, "since ", ago(state.since / 1000)), h("span", null, `${state.away}. What is shown is the last that was heard. Traffic goes on without it; start it with`), h("code", null, "weft up"));
  const faults = state.errors.length > 0 && h("p", { class: "notice bad", role: "alert", "data-key": "faults" }, h("b", null, "A fault of this page: "), state.errors[state.errors.length - 1], h("button", { type: "button", onclick: () => { state.errors = []; changed(); } }, "Dismiss"));
  const parts = Object.values(state.picture).filter((part) => part?.error).map((part) => h("p", { class: "notice bad", role: "alert" }, part.error));
  return [anew, away, faults, parts];
}
