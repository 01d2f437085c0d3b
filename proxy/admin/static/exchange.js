// One exchange.

import * as api from "./api.js";
import { curl } from "./curl.js";
import { badge, copy, download, fill, h, moment, ms, say, statusClass } from "./dom.js";
import { answeredBy, store } from "./live.js";
import { ofRecord, round } from "./panes.js";
import { problems, timeline } from "./timeline.js";
import * as tokens from "./tokens.js";
import { draft } from "./trying.js";

const fact = (name, ...value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));

function head(record) {
  const verdict = record.verdict;
  return h("header.exchange-head", {},
    h("h1", {}, badge(statusClass(record.status), record.status ?? "–"), " ", h("span.method", {}, record.request.method), " ", h("span.target", {}, record.request.target)),
    h("dl.facts", {},
      fact("Answered by", answeredBy({ ...verdict, hung_up: record.hung_up, error: record.error })),
      verdict.action ? fact("With", verdict.action) : null,
      verdict.reason ? fact("Reason", verdict.reason) : null,
      verdict.code ? fact("Code", h("code", {}, verdict.code)) : null,
      verdict.cause || record.error ? fact("Cause", verdict.cause ?? record.error) : null,
      fact("Operation", record.operation ?? "–"), fact("Time", moment(record.time)), fact("Client", record.client),
      fact("Own", `${ms(record.own_ms)} ms`), fact("Auth service", record.upstream_ms === undefined ? "–" : `${ms(record.upstream_ms)} ms`),
      fact("Rules", h("code", {}, record.rules.slice(0, 12))), fact("Worker", record.pid), fact("Id", h("code", {}, record.id)),
      record.returned ? fact("Returns to", h("code", {}, record.returned)) : null));
}

function messages(record) {
  const received = ofRecord(record.request);
  const forwarded = ofRecord(record.forwarded, record.request);
  const arrived = ofRecord(record.upstream);
  const delivered = ofRecord(record.answer, record.upstream);
  return round(received, forwarded, arrived, delivered, {
    forwarded: record.verdict.by === "rule" ? `It was not forwarded: ${record.verdict.rule} answered.` : undefined,
    arrived: record.forwarded ? "There was no answer from it." : "It was not asked.",
  });
}

function told(record) {
  const parts = [];
  if (record.effects?.length)
    parts.push(h("h3", {}, "From outside"), h("ul.asked", {}, record.effects.map((one) => h("li", {}, badge("plain", one.kind), " ", h("b", {}, one.rule), ": ", [one.method, one.url].filter(Boolean).join(" "), " → ",
      one.failed ?? (one.kind === "stored" ? (one.found ? "found" : "nothing") : one.kind === "keys" ? `${one.keys?.length ?? 0} keys` : one.status)))));
  if (record.notes?.length)
    parts.push(h("h3", {}, "What rules noted"), h("ul.remarks", {}, record.notes.map((one) => h("li", {}, badge("plain", one.kind), " ", h("b", {}, one.rule), `: ${one.message}`))));
  return parts;
}

/** Fill the page of trying with a recorded exchange. */
function retry(record) {
  const lines = (message) => message.headers.filter(([name]) => !/^(content-length|connection|transfer-encoding)$/i.test(name)).map(([name, value]) => `${name}: ${value}`).join("\n");
  Object.assign(draft, {
    method: record.request.method, path: record.request.target, headers: lines(record.request), body: record.request.body?.text ?? "", ip: record.client,
    status: record.upstream ? String(record.upstream.status) : "200",
    answerHeaders: record.upstream ? lines(record.upstream).replaceAll(/^content-encoding:.*\n?/gim, "") : "", answer: record.upstream?.body?.text ?? "", result: null,
  });
  location.hash = "#/try";
}

export function exchange(n) {
  const stop = new AbortController();
  const element = h("article.exchange", { "aria-busy": "true" }, h("p.dim", {}, "Loading…"));
  const back = () => (location.hash = "#/live");
  let record = null;

  async function save() {
    try {
      const text = await api.text(`exchanges/${n}/case`, stop.signal);
      download(`exchange-${n}.test.yaml`, text, "application/yaml");
      say("The case is saved: put it beside the rules, and `vestibule test` runs it");
    } catch (error) {
      if (error.name !== "AbortError") say(`No case: ${error.message}`);
    }
  }

  async function explain(place) {
    try {
      const result = await api.json(`exchanges/${n}/trace`, stop.signal);
      const notes = result.notes ?? [];
      fill(place, h("p.notice", {}, "Worked out again, from the record with what was secret replaced, by the rules that are served now."),
        notes.length ? h("ul.notes", {}, notes.map((one) => h("li", {}, one))) : null,
        problems((result.problems ?? []).filter((one) => one.severity === "error")),
        result.trace ? timeline(result.trace) : h("p.missing", {}, `There is no explanation: ${result.refused}.`));
    } catch (error) {
      if (error.name !== "AbortError") fill(place, h("p.missing", {}, `There is no explanation: ${error.message}.`));
    }
    place.setAttribute("aria-busy", "false");
  }

  async function begin() {
    try {
      record = await api.json(`exchanges/${n}`, stop.signal);
    } catch (error) {
      if (error.name !== "AbortError") fill(element, h("h1", {}, "This exchange is gone"), h("p.missing", {}, error.message), h("a", { href: "#/live" }, "To the list"));
      return;
    } finally {
      element.setAttribute("aria-busy", "false");
    }
    const found = tokens.find({ Request: record.request, Forwarded: record.forwarded, "Auth service": record.upstream, Answer: record.answer });
    const why = h("div.why-box", { "aria-busy": "true" }, h("p.dim", {}, "Working it out…"));
    fill(element,
      h("nav.crumbs", { "aria-label": "Exchange" }, h("button.quiet", { type: "button", onclick: back }, "← List ", h("kbd", {}, "esc")),
        h("button.quiet", { type: "button", onclick: () => go(-1) }, "Newer ", h("kbd", {}, "k")), h("button.quiet", { type: "button", onclick: () => go(1) }, "Older ", h("kbd", {}, "j")), h("span.grow"),
        h("button", { type: "button", onclick: () => copy(curl(record), "The curl line") }, "Copy as curl"), h("button", { type: "button", onclick: () => retry(record) }, "Try it"),
        h("button.main", { type: "button", onclick: save }, "Save as test")),
      head(record), messages(record),
      h("section", {}, h("h2", {}, "Rules"), told(record), why),
      found.length ? h("section", {}, h("h2", {}, "Tokens"), tokens.show(found)) : null);
    await explain(why);
  }

  function go(by) {
    const next = store.neighbour(n, by);
    if (next !== null) {
      store.chosen = next;
      location.hash = `#/x/${next}`;
    }
  }

  return {
    title: `Exchange ${n}`, element, begin, end: () => stop.abort(), escape: back,
    keys: { j: () => go(1), k: () => go(-1), c: () => record && copy(curl(record), "The curl line"), s: save, t: () => record && retry(record) },
  };
}
