// The certificate of every connected proxy: whom it names and when it ends.

import { query } from "../api.js";
import { h } from "../dom.js";
import { ago, instant } from "../format.js";
import { toDetail } from "../place.js";
import { empty, table, unanswered, view } from "../table.js";

const SOON = 300; // seconds; certificates are renewed well before

export function certificatesView() {
  const answer = query("/v1/proxies", { every: 5 });
  const command = "weft proxy status";
  const waiting = unanswered(answer, "Certificates", command);
  if (waiting) return view("Certificates", null, waiting, command);
  const rows = answer.value.proxies;
  if (!rows.length) return view("Certificates", null, empty("No certificate is in use", "Every workload gets one from the control plane when it starts, and a new one long before it ends.", "weft up"), command);
  const left = (one) => (instant(one.certificate_expires) - Date.now()) / 1000;
  const columns = [
    { name: "Proxy", cell: (one) => h("a", { href: toDetail("proxy", one.name) }, one.name), value: (one) => one.name },
    { name: "Identity", cell: (one) => h("span", { class: "mono breaks" }, one.identity), value: (one) => one.identity },
    { name: "Ends", number: true, cell: (one) => ago(one.certificate_expires), value: (one) => one.certificate_expires },
    { name: "State", cell: (one) => state(left(one)), value: left },
  ];
  return view("Certificates", null, table("certificates", columns, rows, { key: (one) => `${one.name} ${one.connected_since}`, label: "Certificates" }), command);
}

function state(left) {
  if (left <= 0) return h("span", { class: "chip bad" }, "◆ ended");
  return left < SOON ? h("span", { class: "chip warn" }, "▲ ends soon") : h("span", { class: "chip good" }, "● valid");
}
