// A JSON value as YAML, for people to read.

const PLAIN = /^[A-Za-z_./*][\w ./:@*-]*$/;
const WORDS = new Set(["true", "false", "null", "yes", "no", "on", "off", "~"]);

export function yaml(value, indent = "") {
  if (Array.isArray(value)) {
    if (!value.length) return "[]";
    return value.map((one) => `${indent}- ${nested(one, `${indent}  `).trimStart()}`).join("\n");
  }
  if (value && typeof value === "object") {
    const members = Object.entries(value);
    if (!members.length) return "{}";
    return members.map(([name, one]) => `${indent}${scalar(name)}:${holds(one) ? `\n${nested(one, Array.isArray(one) ? indent : `${indent}  `)}` : ` ${nested(one, indent)}`}`).join("\n");
  }
  return scalar(value, indent);
}

const holds = (value) => value && typeof value === "object" && Object.keys(value).length > 0;
const nested = (value, indent) => yaml(value, indent);

function scalar(value, indent = "") {
  if (typeof value !== "string") return String(value);
  if (value.includes("\n")) return `|\n${value.replace(/\n$/, "").split("\n").map((line) => `${indent}  ${line}`).join("\n")}`;
  return PLAIN.test(value) && !value.includes(": ") && !value.endsWith(" ") && !value.endsWith(":") && !WORDS.has(value.toLowerCase()) ? value : JSON.stringify(value);
}
