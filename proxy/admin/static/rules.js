// The rules that are served: what each is, and what became of it.

import * as api from "./api.js";
import { ago, badge, fill, h, ms, plural } from "./dom.js";
import { store } from "./live.js";

/** Mark the keys, comments and texts of YAML; enough to read by, not to check by. */
export function yaml(text) {
  return text.split("\n").flatMap((line) => {
    const [, lead, key, colon, rest] = /^(\s*(?:- )*)([A-Za-z_][\w.-]*|"[^"]*"|'[^']*')?(:(?=\s|$))?(.*)$/.exec(line);
    const parts = colon ? [lead, h("span.key", {}, key), colon] : [lead, key ?? ""];
    const comment = /(^|\s)#.*$/.exec(rest);
    const plain = comment ? rest.slice(0, comment.index) : rest;
    parts.push(...plain.split(/("[^"]*"|'[^']*')/).map((part) => (/^["']/.test(part) ? h("span.string", {}, part) : part)));
    if (comment) parts.push(h("span.comment", {}, rest.slice(comment.index)));
    return [...parts, "\n"];
  });
}

const BAD = new Set(["failed", "skipped"]);

function row(rule, most, now) {
  const errors = Object.entries(rule.outcomes ?? {}).filter(([name]) => BAD.has(name)).reduce((sum, [, count]) => sum + count, 0);
  const cold = !rule.hits;
  const meter = h("span.meter", { "aria-hidden": "true" }, h("span"));
  meter.firstChild.style.width = `${most ? Math.max(rule.hits ? 2 : 0, (100 * (rule.hits ?? 0)) / most) : 0}%`;
  const seen = () => {
    store.filter = `rule:${rule.name}`;
    location.hash = "#/live";
  };
  const outcomes = Object.entries(rule.outcomes ?? {}).filter(([name]) => !BAD.has(name));
  return h("li", { class: `rule-card ${cold ? "cold" : ""}` }, h("details", {},
    h("summary", {},
      h("span.title", {}, h("span.rule-name", {}, rule.name), rule.mode !== "enforce" ? badge("plain", rule.mode) : null, cold ? badge("plain", "never ran") : null),
      h("span.figure", {}, h("b", {}, (rule.hits ?? 0).toLocaleString("en")), " hits"), meter,
      h("span", { class: `figure ${errors ? "bad" : ""}` }, h("b", {}, errors.toLocaleString("en")), " errors"),
      h("span.figure.last", {}, h("b", {}, rule.last === undefined ? "–" : ago(rule.last, now)), " last"),
      h("span.figure.p99", {}, h("b", {}, rule.p99 !== undefined ? `≤ ${ms(rule.p99)}` : rule.slow ? "> 1 s" : "–"), " p99 ms")),
    h("div.inside", {}, rule.description ? h("p", {}, rule.description) : null,
      h("p.dim", {}, `${rule.file}:${rule.line}`, outcomes.length ? ` · ${outcomes.map(([name, count]) => `${name} ${count}`).join(", ")}` : "", " · ", h("button.word", { type: "button", onclick: seen }, "its exchanges"),
        rule.last_n ? [" · ", h("a", { href: `#/x/${rule.last_n}` }, "the last one")] : null),
      h("pre.source", { tabIndex: 0, "aria-label": `Source of ${rule.name}` }, yaml(rule.text)))));
}

export function rules() {
  const stop = new AbortController();
  const list = h("ol.rule-cards");
  const told = h("p.dim", {}, "Loading…");
  const input = h("input", { type: "search", placeholder: "Find a rule", "aria-label": "Find a rule", autocomplete: "off", spellcheck: false, "aria-keyshortcuts": "/" });
  let given = null;

  function draw() {
    const wanted = input.value.toLowerCase();
    const shown = given.rules.filter((rule) => `${rule.name} ${rule.file} ${rule.description ?? ""}`.toLowerCase().includes(wanted));
    const most = Math.max(0, ...given.rules.map((rule) => rule.hits ?? 0));
    fill(list, shown.map((rule) => row(rule, most, given.now)));
    const cold = given.rules.filter((rule) => !rule.hits).length;
    fill(told, `${plural(given.rules.length, "rule")} of version `, h("code", {}, given.revision.slice(0, 12)), cold ? `; ${cold} never ran` : "",
      ". Hits and errors are of all workers since the start; p99 is of the own time of the exchanges in which a rule ran.");
  }

  input.addEventListener("input", () => given && draw());
  return {
    title: "Rules",
    element: h("div.rules-page", {}, h("div.page-head", {}, h("h1", {}, "Rules"), h("span.grow"), h("div.search", {}, input, h("kbd", {}, "/"))), told, list),
    begin: async () => {
      given = await api.json("rules", stop.signal);
      draw();
    },
    end: () => stop.abort(),
    keys: { "/": () => input.focus() },
    escape: () => { if (input.value) { input.value = ""; draw(); } input.blur(); },
  };
}
