// Which detail stands beside the view.

import { documentDetail } from "./details/document.js";
import { edgeDetail } from "./details/edge.js";
import { explainDetail } from "./details/explain.js";
import { proxyDetail } from "./details/proxy.js";
import { failuresDetail, requestDetail } from "./details/request.js";
import { revisionDetail } from "./details/revision.js";
import { serviceDetail } from "./details/service.js";
import { workloadDetail } from "./details/workload.js";
import { h } from "./dom.js";
import { heading } from "./heading.js";

const DETAILS = { document: documentDetail, edge: edgeDetail, explain: explainDetail, failures: failuresDetail, proxy: proxyDetail, request: requestDetail, revision: revisionDetail, service: serviceDetail, workload: workloadDetail };

// Elements of the detail, or null if none is open.
export function detailOf(place) {
  const [kind, ...names] = place.open;
  if (!kind) return null;
  const make = DETAILS[kind];
  return make ? make(place, ...names) : [heading("Unknown", kind), h("p", { class: "soft" }, "This address names something that the page does not know.")];
}
