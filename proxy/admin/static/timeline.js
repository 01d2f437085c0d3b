// Why an exchange went as it did: every rule in order, with its conditions and its steps.

import { badge, h, plural } from "./dom.js";

const STATES = {
  ran: ["ran", "✓"],
  "no match": ["no match", "·"],
  "left out": ["left out", "·"],
  "not reached": ["not reached", "·"],
  skipped: ["skipped", "!"],
  failed: ["failed", "✕"],
  off: ["off", "·"],
};
const STEPS = { ran: "✓", "not held": "·", "not reached": "·", failed: "✕", "not done": "·" };

const LONGEST = 160;
// What is longer is told whole where the messages are.
const short = (text) => (text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text);
const value = (text) => (text === null || text === undefined ? h("em", {}, "nothing") : h("code", {}, short(text)));

export function decided(decision) {
  const who = decision.by === "upstream" ? "The auth service answered" : decision.by === "rule" ? `${decision.rule} ${decision.denied ? "denied" : "answered"}` : decision.rule ? `${decision.rule} failed, and the proxy answered` : "The proxy answered";
  const why = [decision.action && decision.by === "rule" ? `with ${decision.action}` : null, decision.reason, decision.detail, decision.code, decision.cause].filter(Boolean);
  return h("p.decision", {}, h("strong", {}, decision.status ? `${who}: ${decision.status}` : who), why.length ? ` — ${why.join(" · ")}` : "");
}

function conditions(rule) {
  if (!rule.conditions.length) return h("p.dim", {}, "It matches every exchange.");
  return h("ul.conditions", {}, rule.conditions.map((one) =>
    h("li", { class: one.held ? "held" : "failed" }, h("span.mark", { "aria-hidden": "true" }, one.held ? "✓" : "✕"), h("span.unseen", {}, one.held ? "holds: " : "fails: "),
      h("b", {}, one.key), " is to be ", h("code", {}, one.wanted), one.held ? null : [", and is ", value(one.saw)])));
}

function step(one) {
  const when = one.when && h("div.when", {}, h("span.dim", {}, "when "), h("code", {}, one.when.text), " → ", h("b", {}, one.when.error ?? String(one.when.held)),
    one.when.parts.length > 1 && h("ul.parts", {}, one.when.parts.slice(1).map((part) => h("li", { class: `depth-${Math.min(part.depth, 6)}` }, h("code", {}, part.text), " = ", part.error ? h("em", {}, part.error) : value(part.value)))));
  return h("li", { class: `step ${one.state.replace(" ", "-")}` },
    h("div", {}, h("span.mark", { "aria-hidden": "true" }, STEPS[one.state]), h("b", {}, one.action), one.name !== one.action ? ` ${one.name}` : "", " ", h("span.dim", {}, `${one.phase} · ${one.position}`),
      one.state !== "ran" ? [" ", badge("plain", one.state)] : null, one.outcome ? [" ", badge("rule", one.outcome)] : null),
    one.error && h("p.error", {}, one.error), when,
    one.changes.length ? h("ul.changes-list", {}, one.changes.map((change) => h("li", {}, h("span.dim", {}, `${change.of} `), h("b", {}, change.place), ": ",
      change.before === null ? null : [h("del", {}, short(change.before)), " "], change.after === null ? h("em", {}, "removed") : h("ins", {}, short(change.after))))) : null,
    one.asked.length ? h("ul.asked", {}, one.asked.map((asked) => h("li", {}, badge("plain", asked.kind), " ", asked.what, " → ", asked.error ? h("em", {}, asked.error) : value(asked.given)))) : null);
}

function missed(rule) {
  if (rule.note) return rule.note;
  if (rule.state !== "no match") return null;
  const first = rule.conditions.find((one) => !one.held);
  return first ? [h("b", {}, first.key), " is ", value(first.saw), ", not ", h("code", {}, first.wanted)] : null;
}

function row(rule) {
  const [text, mark] = STATES[rule.state];
  const ran = rule.steps.filter((one) => one.state === "ran").length;
  return h("li", { class: `rule-row ${rule.state.replace(" ", "-")}` }, h("details", { open: rule.state === "failed" },
    h("summary", {}, h("span.dot", { "aria-hidden": "true" }, mark), h("span.rule-name", {}, rule.name), badge(rule.state === "ran" ? "ok" : rule.state === "failed" ? "failed" : "plain", text),
      rule.mode !== "enforce" ? badge("plain", rule.mode) : null, h("span.why", {}, missed(rule) ?? (rule.state === "ran" ? (ran ? plural(ran, "step") : "no step applied") : ""))),
    h("div.inside", {}, conditions(rule), h("ol.steps", {}, rule.steps.map(step)))));
}

/** Show a trace; the rules that did something are told apart from those that did not. */
export function timeline(trace) {
  const counts = trace.rules.filter((one) => one.state === "ran").length;
  return h("div.timeline", {}, decided(trace.decision),
    h("p.dim", {}, `${plural(counts, "rule")} of ${trace.rules.length} ran. Open one to see its conditions and steps.`),
    h("ol.rules", {}, trace.rules.map(row)),
    trace.asked.length ? [h("h3", {}, "Asked by no step"), h("ul.asked", {}, trace.asked.map((asked) => h("li", {}, badge("plain", asked.kind), " ", asked.what, " → ", asked.error ?? asked.given)))] : null,
    trace.remarks.length ? [h("h3", {}, "Remarks"), h("ul.remarks", {}, trace.remarks.map((one) => h("li", {}, badge("plain", one.kind), " ", h("b", {}, one.rule), ": ", one.message)))] : null);
}

/** Show problems of rules as a compiler does. */
export function problems(list) {
  return list.length ? h("ul.problems", {}, list.map((one) => h("li", { class: one.severity }, h("code", {}, `${one.source}:${one.line}:${one.column}`), " ", badge(one.severity === "error" ? "failed" : "plain", one.severity), ` ${one.text}`,
    one.suggestion ? h("span.dim", {}, `; did you mean ${one.suggestion}?`) : null))) : null;
}
