// Connected proxies and what they have confirmed.

import { query } from "../api.js";
import { h } from "../dom.js";
import { ago, bytes, count } from "../format.js";
import { readPlace, toDetail } from "../place.js";
import { empty, table, unanswered, view } from "../table.js";

export function proxiesView() {
  const answer = query("/v1/proxies", { every: 3 });
  const command = "weft proxy status";
  const waiting = unanswered(answer, "Proxies", command);
  if (waiting) return view("Proxies", null, waiting, command);
  const rows = answer.value.proxies;
  if (!rows.length) return view("Proxies", null, empty("No proxy is connected", "Every workload runs behind an Envoy that asks the control plane what to do.", "weft run --name client -- curl http://hello/"), command);
  const open = readPlace().open[1];
  const columns = [
    { name: "Proxy", cell: (one) => h("a", { href: toDetail("proxy", one.name) }, one.name), value: (one) => one.name },
    { name: "State", cell: proxyState, value: proxyWord },
    { name: "Confirmed", number: true, cell: (one) => `${one.revision_acked} of ${one.revision}`, value: (one) => one.revision_acked },
    { name: "Resources pending", number: true, cell: (one) => count(pending(one)), value: pending },
    { name: "Sent", number: true, cell: (one) => bytes(one.bytes_sent), value: (one) => one.bytes_sent },
    { name: "Connected", number: true, cell: (one) => ago(one.connected_since), value: (one) => one.connected_since },
    { name: "Certificate ends", number: true, cell: (one) => ago(one.certificate_expires), value: (one) => one.certificate_expires },
  ];
  return view("Proxies", null, table("proxies", columns, rows, { key: (one) => `${one.name} ${one.connected_since}`, label: "Proxies", selected: (one) => open === one.name }), command);
}

const pending = (one) => one.types.reduce((sum, kind) => sum + kind.pending, 0);

export function proxyWord(one) {
  if (one.stuck) return "stuck";
  if (one.types.some((kind) => kind.rejected)) return "refuses";
  return one.revision_acked < one.revision ? "pending" : "in sync";
}

export function proxyState(one) {
  const word = proxyWord(one);
  const [how, sign] = { "in sync": ["good", "●"], pending: ["warn", "▲"] }[word] ?? ["bad", "◆"];
  return h("span", { class: `chip ${how}` }, `${sign} ${word}`);
}
