// Try it: a request and an answer that somebody writes, by the rules that are served or by edited ones. Nothing is sent.

import * as api from "./api.js";
import { fill, h } from "./dom.js";
import { ofTrace, round } from "./panes.js";
import { problems, timeline } from "./timeline.js";

/** What was typed last; kept while other pages are shown, and nowhere else. */
export const draft = {
  method: "POST", path: "/login", headers: "content-type: application/json", body: '{"username": "jane@example.com", "password": "test-only"}', ip: "192.0.2.1",
  status: "200", answerHeaders: "content-type: application/json", answer: "{}", edited: {}, file: null, result: null,
};

function lines(text) {
  const found = {};
  for (const line of text.split("\n")) {
    const at = line.indexOf(":");
    if (!line.trim()) continue;
    if (at < 1) throw new Error(`a header is written as name: value, not ${line}`);
    const name = line.slice(0, at).trim().toLowerCase();
    const value = line.slice(at + 1).trim();
    found[name] = name in found ? [found[name]].flat().concat(value) : value;
  }
  return found;
}

function message(headers, body) {
  const given = { headers: lines(headers) };
  if (!body) return given;
  return { ...given, body };
}

export function trying() {
  const stop = new AbortController();
  let running = null;
  const field = (name, label, props = {}) => {
    const input = h(props.rows ? "textarea.code" : "input", { spellcheck: false, autocomplete: "off", ...props });
    input.value = draft[name];
    input.addEventListener("input", () => (draft[name] = input.value));
    return h("label", { class: `field ${name}` }, h("span", {}, label), input);
  };
  const result = h("section.result", { "aria-label": "What came of it", "aria-live": "polite" });
  const files = h("select", { "aria-label": "Rule file" });
  const source = h("textarea.code", { rows: 18, spellcheck: false, "aria-label": "Text of the rule file" });
  const reset = h("button.quiet", { type: "button" }, "As it is served");
  const edits = h("span.dim", { role: "status" });
  const run = h("button.main", { type: "submit" }, "Explain ", h("kbd", {}, "ctrl ↵"));
  let sources = [];

  function told() {
    const count = Object.keys(draft.edited).length;
    edits.textContent = count ? `${count} edited: this try alone uses it` : "as served";
    reset.hidden = !(draft.file in draft.edited);
  }

  function pick(name) {
    draft.file = name;
    files.value = name;
    source.value = draft.edited[name] ?? sources.find((one) => one.name === name)?.text ?? "";
    told();
  }

  files.addEventListener("change", () => pick(files.value));
  source.addEventListener("input", () => {
    const served = sources.find((one) => one.name === draft.file)?.text;
    if (source.value === served) delete draft.edited[draft.file];
    else draft.edited[draft.file] = source.value;
    told();
  });
  reset.addEventListener("click", () => {
    delete draft.edited[draft.file];
    pick(draft.file);
  });

  function show(found) {
    draft.result = found;
    const { trace, refused, notes = [], problems: wrong = [] } = found;
    fill(result, h("h2", {}, "What came of it"), problems(wrong.filter((one) => one.severity === "error" || Object.keys(draft.edited).length)),
      notes.length ? h("ul.notes", {}, notes.map((one) => h("li", {}, one))) : null,
      refused ? h("p.missing", {}, `It could not be tried: ${refused}.`) : null,
      trace ? [timeline(trace), round(...[trace.received, trace.forwarded, trace.arrived, trace.delivered].map(ofTrace))] : null);
  }

  async function go() {
    running?.abort();
    running = new AbortController();
    run.disabled = true;
    fill(result, h("p.dim", {}, "Trying…"));
    try {
      const upstream = /^\d+$/.test(draft.status) ? { status: Number(draft.status), ...message(draft.answerHeaders, draft.answer) } : { fails: draft.status };
      const request = { method: draft.method, path: draft.path, ip: draft.ip, ...message(draft.headers, draft.body) };
      show(await api.post("try", { request, upstream, sources: draft.edited }, running.signal));
    } catch (error) {
      if (error.name !== "AbortError") show({ refused: error.message });
    } finally {
      run.disabled = false;
    }
  }

  const form = h("form.try-form", {},
    h("fieldset", {}, h("legend", {}, "Request"), h("div.pair", {}, field("method", "Method"), field("path", "Path"), field("ip", "Client")), field("headers", "Headers", { rows: 4 }), field("body", "Body", { rows: 6 })),
    h("fieldset", {}, h("legend", {}, "Answer of the auth service"), field("status", "Status, or down, or late"), field("answerHeaders", "Headers", { rows: 3 }), field("answer", "Body", { rows: 6 })),
    h("fieldset.wide", {}, h("legend", {}, "Rules"), h("div.tools", {}, files, reset, edits), source),
    h("div.tools.wide", {}, run, h("span.dim", {}, "Nothing is sent: the store is empty, secrets are of a test, other services do not answer.")));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    go();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      go();
    }
  });
  return {
    title: "Try it",
    element: h("div.try-page", {}, h("h1", {}, "Try it"), form, result),
    begin: async () => {
      if (draft.result) show(draft.result);
      sources = (await api.json("rules", stop.signal)).sources;
      fill(files, sources.map((one) => h("option", { value: one.name }, one.name)));
      if (sources.length) pick(sources.some((one) => one.name === draft.file) ? draft.file : sources[0].name);
      else form.querySelector(".wide").hidden = true;
    },
    end: () => {
      stop.abort();
      running?.abort();
    },
    keys: {},
  };
}
