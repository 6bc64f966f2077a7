// The page: reads the address, renders the frame with its view and the detail beside it, and listens to keys.

import { beginRound, takeKey } from "./api.js";
import { detailOf } from "./details.js";
import { h, morph } from "./dom.js";
import { frame } from "./frame.js";
import { startLive } from "./live.js";
import { go, readPlace, to, VIEWS } from "./place.js";
import { changed, fault, onRender, state } from "./state.js";
import { viewOf } from "./views.js";

let root = null;
let shown = "";
let opened = "";

function render() {
  const place = readPlace();
  beginRound();
  let parts;
  try {
    parts = state.signedOut && !state.picture.health ? signedOut() : frame(place, viewOf(place), detailOf(place));
  } catch (error) {
    fault(error);
    parts = frame(place, { node: h("div", { class: "view" }, h("p", { class: "bad" }, `This view cannot be shown: ${error.message}`)) }, null);
  }
  root ??= document.querySelector(".app");
  root = morph(root, parts.node ?? parts);
  parts.after?.(root);
  moveFocus(place);
}

// A new view or detail takes the focus, so that keys and screen readers are where the eye is.
function moveFocus(place) {
  const open = place.open.join("/");
  if (shown && shown !== place.view) document.getElementById("main")?.focus({ preventScroll: true });
  else if (opened !== open && open && !document.activeElement?.closest(".search, .filter, form")) document.getElementById("detail")?.focus({ preventScroll: true });
  document.title = `${place.open.length ? `${place.open.slice(-1)[0]} · ` : ""}${place.view} · weft`;
  [shown, opened] = [place.view, open];
}

function signedOut() {
  const line = "This page needs a session, and a session ends after twelve hours or when the control plane starts anew. Get one with";
  return h("main", { class: "plain", id: "main" }, h("h1", null, "Sign in from a terminal"), h("p", null, line), h("pre", null, "weft dashboard"),
    h("p", { class: "soft" }, "The address that it prints works once and opens this page signed in."));
}

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.closest?.("input, select, textarea");
  if (event.key === "Escape" && !typing) close();
  else if (typing) return;
  else if (event.key === "/") document.getElementById("search")?.focus();
  else if (event.key === "t" && readPlace().view === "graph") go(to({ as: readPlace().as === "table" ? null : "table" }));
  else if (event.key === "e") go(to({ open: ["explain"] }));
  else if (/^[1-9]$/.test(event.key)) go(`#/${VIEWS[Number(event.key) - 1]}`);
  else return;
  if (event.key === "/") event.preventDefault();
}

function close() {
  const { open } = readPlace();
  if (!open.length) return;
  go(to({ open: [] }));
  requestAnimationFrame(() => (document.querySelector(".node.selected") ?? document.getElementById("main"))?.focus({ preventScroll: true }));
}

takeKey();
onRender(render);
window.addEventListener("hashchange", changed);
window.addEventListener("error", (event) => fault(event.error ?? event.message));
window.addEventListener("unhandledrejection", (event) => fault(event.reason));
document.addEventListener("keydown", key);
document.documentElement.dataset.theme = localStorage.getItem("weft-theme") ?? "";
setInterval(changed, 10_000); // relative times
startLive();
render();
