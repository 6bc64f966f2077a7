// Small time series: SVG drawn by hand. A gap is a gap: where nothing was seen there is no line, and zero is a line at zero.

import { h, s } from "./dom.js";
import { milliseconds, rate } from "./format.js";

const WIDTH = 480;
const HEIGHT = 92;
const LEFT = 52;
const BOTTOM = 16;
const TOP = 6;

// points: [{time, …}]; lines: [{value(point), kind}]; bars: value(point) of what failed; changes: times to mark.
export function chart(title, points, { lines, area, bars, text, legend, changes = [] }) {
  if (!points.length) return h("p", { class: "soft" }, "No data yet.");
  const at = points.map((point) => new Date(point.time).getTime());
  const [first, last] = [at[0], at[at.length - 1] || at[0] + 1];
  const values = lines.flatMap((line) => points.map(line.value)).filter((value) => value !== null && value !== undefined);
  const top = ceiling(Math.max(0, ...values));
  const x = (time) => LEFT + ((time - first) / Math.max(1, last - first)) * (WIDTH - LEFT);
  const y = (value) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
  const wide = (WIDTH - LEFT) / points.length;
  const known = values.length > 0;
  const label = known ? `${title}, highest ${text(Math.max(...values))}` : `${title}: no data`;
  return h("figure", { class: "chart" },
    h("h3", null, title),
    s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label },
      s("path", { class: "axis", d: `M${LEFT} ${y(0)}H${WIDTH}M${LEFT} ${y(top)}H${WIDTH}`, fill: "none" }),
      area && known && runs(points, lines[0].value).map((run) => s("path", { class: "area", d: `M${x(at[run[0]])} ${y(0)}${run.map((i) => `L${x(at[i])} ${y(lines[0].value(points[i]))}`).join("")}L${x(at[run[run.length - 1]])} ${y(0)}Z` })),
      bars && points.map((point, i) => bars(point) > 0 && s("rect", { class: "errors", x: Math.max(LEFT, x(at[i]) - wide * 0.8), y: y(bars(point)), width: Math.max(1, wide * 0.75), height: y(0) - y(bars(point)) })),
      lines.map((line) => runs(points, line.value).map((run) => s("path", { class: `series ${line.kind ?? ""}`, d: run.map((i, n) => `${n ? "L" : "M"}${x(at[i]).toFixed(1)} ${y(line.value(points[i])).toFixed(1)}`).join("") + (run.length === 1 ? "h1" : "") }))),
      changes.filter((time) => time >= first && time <= last).map((time) => s("path", { class: "change", d: `M${x(time)} ${TOP}V${y(0)}`, fill: "none" })),
      s("text", { x: LEFT - 6, y: y(top) + 8, "text-anchor": "end" }, known ? text(top) : ""),
      s("text", { x: LEFT - 6, y: y(0), "text-anchor": "end" }, "0"),
      s("text", { x: LEFT, y: HEIGHT - 2 }, clock(first, last - first)),
      s("text", { x: WIDTH, y: HEIGHT - 2, "text-anchor": "end" }, clock(last, last - first)),
      !known && s("text", { x: (LEFT + WIDTH) / 2, y: HEIGHT / 2, "text-anchor": "middle" }, "no data in this time")),
    legend && h("figcaption", null, legend.map(([kind, name]) => h("span", null, h("i", { class: kind }), name))));
}

// Requests and failures, and latencies, of an answer of /v1/traffic/series.
export function golden(series, changes = []) {
  const { step, points } = series;
  const per = (member) => (point) => (point[member] === null || point[member] === undefined ? null : point[member] / step);
  return [
    chart("Requests and failures", points, { lines: [{ value: per("requests") }], area: true, bars: per("errors"), text: rate, changes, legend: [["", "requests"], ["errors", "failed"]] }),
    chart("Latency", points, { lines: [{ value: (point) => point.p99_ms, kind: "third" }, { value: (point) => point.p95_ms, kind: "second" }, { value: (point) => point.p50_ms }], text: milliseconds, changes, legend: [["", "p50"], ["second", "p95"], ["third", "p99"]] }),
  ];
}

// Indexes of points that follow each other and have a value.
function runs(points, value) {
  const found = [];
  let run = null;
  points.forEach((point, i) => {
    const known = value(point) !== null && value(point) !== undefined;
    if (known && run) run.push(i);
    else if (known) found.push((run = [i]));
    else run = null;
  });
  return found;
}

function ceiling(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((one) => one * power).find((one) => one >= value * 0.999);
}

function clock(time, span) {
  const day = span > 12 * 3600_000 ? { weekday: "short" } : {};
  return new Date(time).toLocaleString(undefined, { ...day, hour: "2-digit", minute: "2-digit" });
}
