// The signed tokens of an exchange, as far as what was replaced leaves them.

import { h, moment } from "./dom.js";

const TOKEN = /eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*/g;
const TIMES = new Set(["exp", "iat", "nbf", "auth_time", "updated_at"]);

function decode(part) {
  try {
    const plain = atob(part.replaceAll("-", "+").replaceAll("_", "/"));
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(plain, (one) => one.charCodeAt(0))));
  } catch {
    return null;
  }
}

/** Find the tokens in messages {what: message}; each once, with the first place where it stands. */
export function find(messages) {
  const found = new Map();
  const look = (text, where) => {
    for (const [token] of (text ?? "").matchAll(TOKEN)) {
      const [header, claims] = token.split(".").map(decode);
      if (header?.alg && claims && !found.has(token)) found.set(token, { where, header, claims });
    }
  };
  for (const [what, message] of Object.entries(messages)) {
    if (!message) continue;
    look(message.target, `${what}, target`);
    for (const [name, value] of message.headers) look(value, `${what}, ${name}`);
    look(message.body?.text, `${what}, body`);
  }
  return [...found.values()];
}

const shown = (name, value) => (TIMES.has(name) && typeof value === "number" && value < 1e11 ? `${value} (${moment(value)})` : typeof value === "string" ? value : JSON.stringify(value));

export function show(tokens) {
  return tokens.map(({ where, header, claims }) => h("section.token", {}, h("h3", {}, where), h("p.dim", {}, `${Object.entries(header).map(([name, value]) => `${name} ${value}`).join(" · ")} — its signature was replaced`),
    h("table.claims", {}, h("caption.unseen", {}, `Claims of the token in ${where}`), h("tbody", {}, Object.entries(claims).map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, shown(name, value))))))));
}
