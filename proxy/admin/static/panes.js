// The four messages of an exchange, and what of each is not as it was on the other side of the proxy.

import { bytes, h } from "./dom.js";

/** A message as all pages show it: start {text}, headers [[name, value]], body {text, note} or null. */
export function ofRecord(message, other) {
  if (!message) return null;
  const start = message.method ? `${message.method} ${message.target}` : `${message.status}${message.reason ? ` ${message.reason}` : ""}`;
  return { start, headers: message.headers, body: bodyOf(message.body, other?.body) };
}

function bodyOf(body, other) {
  if (!body || (!body.size && !body.text)) return null;
  if (body.same) return { text: other?.text ?? null, note: `as it came: ${bytes(body.size)}` };
  const coded = body.coding ? `, ${body.coding}` : "";
  return { text: body.text ?? null, note: body.text === undefined ? `${bytes(body.size)}, not kept: ${body.why}` : `${bytes(body.size)}${coded}` };
}

export const ofTrace = (message) =>
  message && { start: message.start, headers: message.headers, body: message.body === null ? null : { text: message.body, note: "" } };

/** Give lines {kind, text} for what is, was (`del`), has come (`ins`) or stays (``). */
export function headerLines(before, after) {
  const lines = [];
  const group = (headers) => {
    const found = new Map();
    for (const [name, value] of headers) {
      const key = name.toLowerCase();
      found.set(key, [...(found.get(key) ?? []), [name, value]]);
    }
    return found;
  };
  if (!before) return after.map(([name, value]) => ({ kind: "", name, value }));
  const old = group(before);
  const now = group(after);
  for (const [key, values] of now) {
    const were = old.get(key) ?? [];
    const gone = were.filter(([, value]) => !values.some(([, other]) => other === value));
    lines.push(...gone.map(([name, value]) => ({ kind: "del", name, value })));
    lines.push(...values.map(([name, value]) => ({ kind: were.some(([, other]) => other === value) ? "" : "ins", name, value })));
  }
  for (const [key, values] of old) if (!now.has(key)) lines.push(...values.map(([name, value]) => ({ kind: "del", name, value })));
  return lines;
}

function parsed(text) {
  try {
    return { value: JSON.parse(text) };
  } catch {
    return null;
  }
}

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

/** Write JSON as lines {kind, text}, with what differs from another value. */
export function jsonLines(before, after, compared) {
  const lines = [];
  const whole = (value, depth, lead, tail, kind) => {
    const text = JSON.stringify(value, null, 2).split("\n");
    text.forEach((line, place) => lines.push({ kind, text: " ".repeat(2 * depth) + (place ? "" : lead) + line + (place === text.length - 1 ? tail : "") }));
  };
  const both = (old, now, depth, lead, tail) => {
    if (isObject(old) && isObject(now)) {
      const names = [...new Set([...Object.keys(now), ...Object.keys(old)])];
      if (!names.length) return whole(now, depth, lead, tail, "");
      lines.push({ kind: "", text: `${" ".repeat(2 * depth)}${lead}{` });
      const last = Object.keys(now).at(-1);
      for (const name of names) {
        const key = `${JSON.stringify(name)}: `;
        const comma = name === last || !(name in now) ? "" : ",";
        if (!(name in now)) whole(old[name], depth + 1, key, "", "del");
        else if (!(name in old)) whole(now[name], depth + 1, key, comma, "ins");
        else both(old[name], now[name], depth + 1, key, comma);
      }
      return lines.push({ kind: "", text: `${" ".repeat(2 * depth)}}${tail}` });
    }
    if (Array.isArray(old) && Array.isArray(now) && old.length === now.length && now.length) {
      lines.push({ kind: "", text: `${" ".repeat(2 * depth)}${lead}[` });
      now.forEach((value, place) => both(old[place], value, depth + 1, "", place === now.length - 1 ? "" : ","));
      return lines.push({ kind: "", text: `${" ".repeat(2 * depth)}]${tail}` });
    }
    if (JSON.stringify(old) === JSON.stringify(now)) return whole(now, depth, lead, tail, "");
    whole(old, depth, lead, "", "del");
    return whole(now, depth, lead, tail, "ins");
  };
  if (compared) both(before, after, 0, "", "");
  else whole(after, 0, "", "", "");
  return lines;
}

export function bodyLines(before, after) {
  if (!after?.text) return [];
  const now = parsed(after.text);
  const old = before?.text ? parsed(before.text) : null;
  if (now) return jsonLines(old?.value, now.value, !!old);
  const same = !before?.text || before.text === after.text;
  const lines = (text, kind) => text.split("\n").map((line) => ({ kind, text: line }));
  return same ? lines(after.text, "") : [...lines(before.text, "del"), ...lines(after.text, "ins")];
}

const MARKS = { ins: "+", del: "−", "": " " };
const WORDS = { ins: "added: ", del: "removed: " };

function line(kind, ...content) {
  return h(kind || "span", { class: `line ${kind}` }, h("span.mark", { "aria-hidden": "true" }, MARKS[kind]), kind && h("span.unseen", {}, WORDS[kind]), h("span.text", {}, content));
}

/** Show a message, with what differs from the one before it; `about` is said of one that has none before it. */
export function pane(title, way, message, before, missing, about = "") {
  const changes = [];
  const content = [];
  if (message) {
    if (before && before.start !== message.start) {
      changes.push(1);
      content.push(line("del", h("strong", {}, before.start)), line("ins", h("strong", {}, message.start)));
    } else content.push(line("", h("strong", {}, message.start)));
    for (const one of headerLines(before?.headers, message.headers)) {
      if (one.kind) changes.push(1);
      content.push(line(one.kind, h("span.name", {}, `${one.name}: `), one.value));
    }
    const body = bodyLines(before?.body, message.body);
    if (message.body) content.push(h("span.line.gap"));
    if (message.body?.note) content.push(h("span.line.note", {}, message.body.note));
    for (const one of body) {
      if (one.kind) changes.push(1);
      content.push(line(one.kind, one.text));
    }
  }
  const told = before && message ? (changes.length ? `${changes.length} changed` : "unchanged") : about;
  return h("section.pane", { "aria-label": title },
    h("header", {}, h("h2", {}, h("span.way", { "aria-hidden": "true" }, way), title), told && h("span", { class: `changes ${changes.length ? "some" : ""}` }, told)),
    message ? h("pre.message", { tabIndex: 0, "aria-label": `${title}, text` }, content) : h("p.missing", {}, missing));
}

/** Show the four messages as they went round. */
export function round(received, forwarded, arrived, delivered, missing = {}) {
  return h("div.panes", {},
    // With the lines of X-Forwarded- and Forwarded that Vestibule writes in the place of the client's.
    pane("Client to Vestibule", "→", received, null, "nothing", "as rules see it"),
    pane("Vestibule to auth service", "→", forwarded, received, missing.forwarded ?? "It was not forwarded."),
    pane("Auth service to Vestibule", "←", arrived, null, missing.arrived ?? "There was no answer from it."),
    pane("Vestibule to client", "←", delivered, arrived, missing.delivered ?? "The client got no answer."));
}
