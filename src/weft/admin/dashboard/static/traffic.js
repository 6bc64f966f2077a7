// Numbers of the time range that the reader chose: the live picture, or an answer of the API for a longer one.

import { query } from "./api.js";
import { state } from "./state.js";

export const LIVE_SECONDS = 60;
export const seconds = (place) => place.range || LIVE_SECONDS;
export const window = (place) => (place.range ? `${place.range >= 3600 ? `${place.range / 3600}h` : `${place.range / 60}m`}` : "1m");

// The graph: {nodes, edges, width, height}, undefined while nobody has told it. `missing`: nobody will.
export function graphOf(place, parameters = "") {
  if (!place.range && !parameters && state.picture.graph && !state.picture.graph.error) return { value: state.picture.graph };
  return query(`/v1/graph?window=${seconds(place)}${parameters}`, { every: place.range ? 10 : 2 });
}

// Edges between workloads, with some of the API's filters.
export function edgesOf(place, filters = "") {
  return query(`/v1/traffic?window=${seconds(place)}${filters}`, { every: place.range ? 10 : 3 });
}

export function seriesOf(place, filters) {
  const window = place.range || 300;
  return query(`/v1/traffic/series?window=${window}&step=${Math.max(10, window / 60)}${filters}`, { every: window > 3600 ? 60 : 5 });
}

// The sum of edges: rates add up, the worst percentile of any stands for all (sketches are not here).
export function total(edges) {
  const requests = edges.reduce((sum, edge) => sum + edge.requests, 0);
  const good = edges.reduce((sum, edge) => sum + (edge.success_rate ?? 0) * edge.requests, 0);
  const worst = (member) => edges.reduce((most, edge) => (edge[member] === null ? most : Math.max(most ?? 0, edge[member])), null);
  return {
    requests,
    requests_per_second: edges.reduce((sum, edge) => sum + edge.requests_per_second, 0),
    success_rate: requests ? good / requests : null,
    p50_ms: worst("p50_ms"),
    p95_ms: worst("p95_ms"),
    p99_ms: worst("p99_ms"),
    mtls: edges.every((edge) => edge.mtls === null) ? null : edges.every((edge) => edge.mtls !== false),
  };
}

// Mutual TLS in words.
export const encryption = (mtls) => (mtls === null || mtls === undefined ? "?" : mtls ? "mutual TLS" : "plaintext");
