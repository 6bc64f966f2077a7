// Numbers and times as people read them. Zero, no data and unknown look different: `0`, `–` and `?`.

import { h } from "./dom.js";

const two = new Intl.NumberFormat("en", { maximumSignificantDigits: 2 });
const three = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export const NONE = "–";
export const UNKNOWN = "?";

const or = (text) => (value) => (value === null ? NONE : value === undefined ? UNKNOWN : text(value));

export const count = or((value) => whole.format(value));
export const rate = or((value) => {
  if (value > 0 && value < 0.1) return value * 60 >= 0.1 ? `${two.format(value * 60)}/min` : value * 3600 >= 0.1 ? `${two.format(value * 3600)}/h` : "<0.1/h";
  return `${value < 10 ? two.format(value) : compact(value)}/s`;
});
export const share = or((value) => {
  if (value === 1 || value === 0) return `${value * 100} %`;
  const percent = value * 100;
  return percent > 99.9 ? ">99.9 %" : percent < 0.1 ? "<0.1 %" : `${percent > 99 ? (Math.floor(percent * 10) / 10).toFixed(1) : two.format(percent)} %`;
});
export const milliseconds = or((value) => (value >= 10_000 ? `${three.format(value / 1000)} s` : value >= 1000 ? `${two.format(value / 1000)} s` : value >= 10 ? `${whole.format(value)} ms` : `${two.format(value)} ms`));
export const bytes = or((value) => {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  let left = value;
  while (left >= 1000 && at < units.length - 1) {
    left /= 1000;
    at += 1;
  }
  return `${at ? three.format(left) : whole.format(left)} ${units[at]}`;
});

function compact(value) {
  return value >= 1_000_000 ? `${three.format(value / 1e6)}M` : value >= 1000 ? `${three.format(value / 1000)}k` : whole.format(value);
}

// Why a value is not a number, for who points at it.
export const reason = (value) => (value === null ? "no data: nothing was seen in this time" : value === undefined ? "not known" : null);

export function duration(seconds) {
  const left = Math.abs(seconds);
  if (left < 1) return "now";
  if (left < 90) return `${Math.round(left)} s`;
  if (left < 5400) return `${Math.round(left / 60)} min`;
  if (left < 48 * 3600) return `${Math.round(left / 3600)} h`;
  return `${Math.round(left / 86400)} days`;
}

export const instant = (value) => new Date(typeof value === "number" ? value * 1000 : value);

// A time relative to now, with the exact one for who points at it. `value`: RFC 3339, or seconds since the epoch.
export function ago(value) {
  if (!value) return h("span", { class: "soft", title: "not known" }, UNKNOWN);
  const then = instant(value);
  const seconds = (then - Date.now()) / 1000;
  const text = Math.abs(seconds) < 1 ? "now" : seconds > 0 ? `in ${duration(seconds)}` : `${duration(seconds)} ago`;
  return h("time", { datetime: then.toISOString(), title: exact(then) }, text);
}

export const exact = (date) => date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "long" });

// How bad a success rate is: "" (nothing to say), "warn" or "bad". Colour means that something is wrong.
export function level(success) {
  if (success === null || success === undefined) return "";
  return success < 0.95 ? "bad" : success < 0.99 ? "warn" : "";
}

// The text of a place in a document.
export const fileLine = (source, line) => (source && line ? `${source}:${line}` : source || "");

// A place as it is shown: of a long path its end; all of it for who points at it.
export function where(text) {
  const short = text.length > 44 && text.includes("/") ? `…/${text.split("/").slice(-2).join("/")}` : text;
  return h("code", { class: "place", title: short === text ? null : text }, short);
}
