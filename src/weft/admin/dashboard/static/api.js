// The admin API as the page asks it, and `query`: answers that views read while they render, kept fresh while they are used.

import { changed, fault, state } from "./state.js";

const KEY = "weft-key";
const KEPT = 80;
const cache = new Map();
let round = 0;

export class Refused extends Error {
  constructor(status, body) {
    super(body?.error ?? `the control plane answered ${status}`);
    this.status = status;
    this.code = body?.code ?? "";
    this.body = body;
  }
}

// The key of the page's session comes behind the # of the one-time address, once. It is kept for this origin, port included,
// and taken out of the address before anything else happens.
export function takeKey() {
  const found = /^#key=([\w-]+)$/.exec(location.hash);
  if (!found) return;
  localStorage.setItem(KEY, found[1]);
  history.replaceState(null, "", "/#/graph");
}

// What a call shows besides the cookie, which alone opens nothing: browsers send it to every port of this host.
export function shown() {
  return { "X-Weft-Key": localStorage.getItem(KEY) ?? "" };
}

// One call; the answer's JSON. Refused says why not; a TypeError means that nobody answered.
export async function call(method, path, body, signal) {
  const headers = { Accept: "application/json", ...shown() };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const response = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body), credentials: "same-origin" });
  const answer = await response.json().catch(() => null);
  if ((response.status === 401 || answer?.code === "no-page-key") && !state.signedOut) {
    state.signedOut = true;
    changed();
  }
  if (!response.ok) throw new Refused(response.status, answer);
  return answer;
}

// {value, missing, error}: what GET `path` answers, asked for again every so many seconds and at every new revision.
// `missing`: this control plane does not have it. Nothing yet: all of them undefined.
export function query(path, { every = 10, fresh = true } = {}) {
  let entry = cache.get(path);
  if (!entry) {
    entry = { value: undefined, missing: false, error: "", at: 0, revision: 0, loading: false };
    cache.set(path, entry);
  }
  Object.assign(entry, { every, fresh, used: round });
  if (!entry.at && !entry.loading) load(path, entry);
  return entry;
}

// Views are about to say what they read.
export function beginRound() {
  round += 1;
}

// Ask again now, because something was done.
export function refresh(prefix) {
  for (const [path, entry] of cache) if (path.startsWith(prefix)) load(path, entry);
}

async function load(path, entry) {
  entry.loading = true;
  const revision = state.picture.health?.compiled ?? 0;
  try {
    const value = await call("GET", path);
    Object.assign(entry, { value, missing: false, error: "" });
  } catch (error) {
    if (error instanceof Refused && error.status === 404 && /nothing at this path/.test(error.message)) entry.missing = true;
    else if (error instanceof Refused) entry.error = error.message;
    else if (!(error instanceof TypeError)) fault(error); // nobody answers: the frame says so, the last answer stays
  }
  Object.assign(entry, { loading: false, at: Date.now(), revision });
  changed();
}

function keepFresh() {
  if (document.hidden || state.signedOut) return;
  const revision = state.picture.health?.compiled ?? 0;
  for (const [path, entry] of cache) {
    if (entry.used < round) {
      if (cache.size > KEPT) cache.delete(path);
    } else if (!entry.loading && (Date.now() - entry.at > entry.every * 1000 || (entry.fresh && entry.revision !== revision))) {
      load(path, entry);
    }
  }
}

setInterval(keepFresh, 1000);
