// Which view a place shows.

import { authorizationView } from "./views/authorization.js";
import { certificatesView } from "./views/certificates.js";
import { documentsView } from "./views/documents.js";
import { graphView } from "./views/graph.js";
import { historyView } from "./views/history.js";
import { problemsView } from "./views/problems.js";
import { proxiesView } from "./views/proxies.js";
import { servicesView } from "./views/services.js";
import { tapView } from "./views/tap.js";

const VIEWS = {
  graph: graphView,
  services: servicesView,
  routes: (place) => documentsView(place, "routes"),
  policies: (place) => documentsView(place, "policies"),
  proxies: proxiesView,
  problems: problemsView,
  history: historyView,
  tap: tapView,
  certificates: certificatesView,
  authorization: authorizationView,
};

// {node, after}: `after` is called once the node stands on the page.
export function viewOf(place) {
  const made = VIEWS[place.view](place);
  return made instanceof Node ? { node: made } : made;
}
