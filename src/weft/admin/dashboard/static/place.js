// The address in the browser names what is shown: `#/VIEW?open=DETAIL&range=SECONDS&…`. Reading it and making it.

export const VIEWS = ["graph", "services", "routes", "policies", "proxies", "problems", "history", "tap", "certificates", "authorization"];

// {view, open: [kind, …names], range: seconds or 0 for live, …every other parameter}
export function readPlace(hash = location.hash) {
  const [path, query] = hash.replace(/^#\/?/, "").split("?");
  const pairs = (query ?? "").split("&").filter(Boolean).map((pair) => pair.split("="));
  const { open, range, ...rest } = Object.fromEntries(pairs.map(([name, value]) => [name, name === "open" ? value : decode(value ?? "")]));
  return {
    ...rest,
    view: VIEWS.includes(path) ? path : "graph",
    open: open ? open.split("/").map(decode) : [],
    range: Math.max(0, Math.min(86400, Number(range) || 0)),
  };
}

function decode(text) {
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    return text;
  }
}

// The address of the present place with some members changed; null takes one away.
export function to(changes, from = readPlace()) {
  const { view, open, range, ...rest } = { ...from, ...changes };
  const parameters = Object.entries(rest).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const pairs = parameters.map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
  if (range) pairs.unshift(`range=${range}`);
  if (open?.length) pairs.unshift(`open=${open.map(encodeURIComponent).join("/")}`);
  return `#/${view}${pairs.length ? `?${pairs.join("&")}` : ""}`;
}

// A view of its own: what belongs to another view is not kept, the time range is.
export const toView = (view) => to({ view, open: [] }, { range: readPlace().range });

// Open a detail beside what is shown.
export const toDetail = (...open) => to({ open });

export const toService = (id) => (id.startsWith("workload ") ? toWorkload(id.slice(9)) : toDetail("service", ...id.split("/")));
export const toWorkload = (id) => toDetail("workload", ...id.split("/"));
export const toDocument = (key) => toDetail("document", key.kind, key.namespace || "-", key.name);

// The detail of an object as texts write it: `KIND NAMESPACE/NAME`; null if it is none.
export function toObject(text) {
  const found = /^(\w+) (?:([^/\s]+)\/)?([^/\s]+)$/.exec(text ?? "");
  return found ? toDetail("document", found[1], found[2] || "-", found[3]) : null;
}

export function go(hash) {
  location.hash = hash;
}
