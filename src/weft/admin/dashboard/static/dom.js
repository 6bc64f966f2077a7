// Elements from values: text becomes text nodes, never markup; `morph` turns what is shown into what should be, in place.

const SVG = "http://www.w3.org/2000/svg";
const HANDLERS = ["onclick", "oninput", "onkeydown", "onsubmit", "onchange", "ontoggle", "onfocus", "onpointerenter", "onpointerleave"];

function fill(node, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (HANDLERS.includes(name)) node[name] = value;
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  append(node, children);
  return node;
}

function append(node, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) append(node, child);
    else node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

// An HTML element. Properties are attributes or handlers; children are elements, texts, lists of these, or nothing.
export function h(tag, properties, ...children) {
  return fill(document.createElement(tag), properties, children);
}

// An SVG element.
export function s(tag, properties, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

const keyOf = (node) => (node.nodeType === 1 ? node.getAttribute("data-key") : null);
const alike = (one, other) => one.nodeType === other.nodeType && one.nodeName === other.nodeName && keyOf(one) === keyOf(other);

// Make `old` look like `next` and return what stands there now. Focus, scrolling and what was typed stay. The inside of
// an element with `data-island` belongs to somebody else; whether a `details` is open belongs to the reader.
export function morph(old, next) {
  if (!alike(old, next)) {
    old.replaceWith(next);
    return next;
  }
  if (old.nodeType !== 1) {
    if (old.data !== next.data) old.data = next.data;
    return old;
  }
  const own = old.nodeName === "DETAILS" ? ["open"] : [];
  for (const { name } of [...old.attributes]) if (!next.hasAttribute(name) && !own.includes(name)) old.removeAttribute(name);
  for (const { name, value } of next.attributes) {
    if (old.getAttribute(name) !== value && !own.includes(name)) old.setAttribute(name, value);
  }
  for (const name of HANDLERS) if (old[name] !== next[name]) old[name] = next[name];
  if (old.nodeName === "INPUT" && document.activeElement !== old && old.value !== next.value) old.value = next.value;
  if (!next.hasAttribute("data-island")) morphChildren(old, next);
  return old;
}

function morphChildren(old, next) {
  const keyed = new Map();
  for (const child of old.childNodes) if (keyOf(child)) keyed.set(keyOf(child), child);
  let at = old.firstChild;
  for (const want of [...next.childNodes]) {
    const key = keyOf(want);
    const have = key ? keyed.get(key) : at && !keyOf(at) ? at : null;
    if (!have || !alike(have, want)) {
      old.insertBefore(want, at);
      continue;
    }
    if (have === at) at = at.nextSibling;
    else old.insertBefore(have, at);
    morph(have, want);
  }
  while (at) {
    const after = at.nextSibling;
    at.remove();
    at = after;
  }
}
