// The list of exchanges, as they happen.

import * as api from "./api.js";
import { compile, HELP } from "./filter.js";
import { badge, clock, fill, h, ms, plural, statusClass } from "./dom.js";
import { Table } from "./table.js";

/** The rows that are known, and who wants to hear of new ones. Kept while another page is shown. */
export const store = {
  rows: [],
  most: 1000,
  last: 0,
  filter: "",
  chosen: null,
  paused: false,
  heard: new Set(),

  take(name, data) {
    if (name === "restart") {
      this.rows = [];
      this.last = 0;
    } else if (name === "rows") {
      const fresh = data.rows.filter((row) => row.n > this.last);
      this.rows.push(...fresh);
      this.last = Math.max(this.last, data.last);
      const gone = this.rows.findIndex((row) => row.n >= data.first);
      if (gone > 0) this.rows.splice(0, gone);
    }
    for (const hear of this.heard) hear();
  },

  /** Give the number of the exchange before or after one, among those that the filter shows. */
  neighbour(n, by) {
    const { holds } = compile(this.filter);
    const rows = holds ? this.rows.filter(holds) : this.rows;
    const place = rows.findIndex((row) => row.n === n);
    return place < 0 ? null : (rows[place - by]?.n ?? null);
  },
};

export const answeredBy = (row) => {
  if (row.by === "upstream") return badge("upstream", "auth service");
  if (row.by === "rule") return badge(row.denied ? "denied" : "rule", `${row.denied ? "✕ " : ""}${row.rule}`, `${row.denied ? "denied" : "answered"} by ${row.rule} (${row.action})`);
  if (row.by === "proxy") return badge("failed", row.rule ? `! ${row.rule}` : "proxy", row.error ?? `${row.rule ?? "the proxy"} failed`);
  return badge("nobody", row.hung_up ? "hung up" : "nobody");
};

const COLUMNS = [
  { name: "time", label: "Time", write: (cell, row) => (cell.textContent = clock(row.time)) },
  { name: "status", label: "Status", write: (cell, row) => fill(cell, badge(statusClass(row.status), row.status ?? "–")) },
  { name: "method", label: "Method", write: (cell, row) => (cell.textContent = row.method) },
  { name: "path", label: "Path", write: (cell, row) => { cell.textContent = row.target; cell.title = row.target; } },
  { name: "operation", label: "Operation", write: (cell, row) => { cell.textContent = row.operation ?? ""; cell.title = row.operation ?? ""; } },
  { name: "by", label: "Answered by", write: (cell, row) => fill(cell, answeredBy(row)) },
  { name: "ran", label: "Rules", write: (cell, row) => { const ran = row.ran ?? []; cell.textContent = ran.join(", "); cell.title = ran.join("\n"); } },
  { name: "own", label: "Own ms", write: (cell, row) => { cell.textContent = ms(row.own); cell.classList.toggle("slow", row.own > 10); } },
  { name: "up", label: "Auth ms", write: (cell, row) => (cell.textContent = ms(row.upstream)) },
];

export function live() {
  const table = new Table({
    columns: COLUMNS,
    label: "Exchanges, the newest first",
    open: (n) => {
      store.chosen = n;
      location.hash = `#/x/${n}`;
    },
  });
  table.selected = store.chosen;
  const input = h("input", {
    type: "search", value: store.filter, placeholder: "Filter: status:4xx op:… rule:… by:rule", "aria-label": "Filter", "aria-describedby": "filter-told",
    autocomplete: "off", spellcheck: false, "aria-keyshortcuts": "/",
  });
  const told = h("p.told", { id: "filter-told", role: "status" });
  const count = h("span.count");
  const pause = h("button.quiet", { type: "button", "aria-keyshortcuts": "p" });
  const words = h("details.words", {}, h("summary", {}, "Filter words"),
    h("dl", {}, HELP.map(([word, text]) => [h("dt", {}, h("button.word", { type: "button", onclick: () => add(word) }, word)), h("dd", {}, text)])));
  const empty = h("div.empty", {}, h("h2", {}, "No exchange yet"), h("p", {}, "Send a request to the proxy: it appears here as soon as it is over."));
  const none = h("div.empty", {}, h("h2", {}, "Nothing fits the filter"));

  let frozen = null;
  let filter = compile(store.filter);
  let shown = [];
  let newest = 0;

  function add(word) {
    input.value = `${input.value.trim()} ${word}`.trim();
    apply();
    input.focus();
  }

  function apply() {
    store.filter = input.value;
    filter = compile(store.filter);
    told.textContent = filter.wrong.length ? `No such word: ${filter.wrong.join(", ")}` : "";
    newest = 0;
    refresh();
  }

  function refresh() {
    const rows = frozen ?? store.rows;
    const fresh = newest && rows.length ? rows.slice(rows.findLastIndex((row) => row.n <= newest) + 1) : rows;
    if (newest && !frozen) {
      const first = rows[0]?.n ?? 0;
      const added = filter.holds ? fresh.filter(filter.holds) : fresh;
      const gone = shown.findIndex((row) => row.n >= first);
      if (shown.length && gone < 0) shown = [];
      shown = gone > 0 ? shown.slice(gone) : shown;
      shown.push(...added);
      table.show(shown, added.length);
    } else {
      shown = filter.holds ? rows.filter(filter.holds) : rows.slice();
      table.show(shown);
    }
    newest = rows.at(-1)?.n ?? 0;
    const waiting = frozen ? store.last - (frozen.at(-1)?.n ?? 0) : 0;
    count.textContent = filter.holds ? `${shown.length.toLocaleString("en")} of ${plural(rows.length, "exchange")}` : plural(rows.length, "exchange");
    fill(pause, frozen ? `Go on${waiting ? ` (${waiting.toLocaleString("en")} new)` : ""} ` : "Pause ", h("kbd", {}, "p"));
    pause.setAttribute("aria-pressed", String(!!frozen));
    empty.hidden = rows.length > 0;
    none.hidden = !rows.length || shown.length > 0;
  }

  function toggle() {
    store.paused = !store.paused;
    frozen = store.paused ? store.rows.slice() : null;
    newest = 0;
    refresh();
  }

  if (store.paused) frozen = store.rows.slice();
  pause.addEventListener("click", toggle);
  input.addEventListener("input", apply);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === "ArrowDown") {
      event.preventDefault();
      table.element.focus();
      if (table.selected === null) table.move(0);
    }
  });
  const hear = () => refresh();
  store.heard.add(hear);
  const element = h("div.live", {},
    h("h1.unseen", {}, "Live exchanges"),
    h("div.tools", {}, h("div.search", {}, input, h("kbd", {}, "/")), pause, count, h("span.grow"), words),
    told,
    h("div.list", {}, table.element, empty, none));
  return {
    title: "Live",
    element,
    begin: () => { refresh(); if (store.chosen !== null) table.choose(store.chosen); table.element.focus({ preventScroll: true }); },
    end: () => { store.heard.delete(hear); table.close(); },
    keys: {
      "/": () => { input.focus(); input.select(); },
      j: () => { table.move(1); store.chosen = table.selected; },
      k: () => { table.move(-1); store.chosen = table.selected; },
      ArrowDown: () => { table.move(1); store.chosen = table.selected; },
      ArrowUp: () => { table.move(-1); store.chosen = table.selected; },
      Home: () => { table.move(-Infinity); store.chosen = table.selected; },
      End: () => { table.move(Infinity); store.chosen = table.selected; },
      Enter: () => table.selected !== null && table.open(table.selected),
      p: toggle,
    },
    escape: () => { if (input.value) { input.value = ""; apply(); } table.element.focus(); },
  };
}

/** Hear of exchanges from now on, whatever page is shown; `told` is told how it goes. */
export async function listen(told) {
  for (;;) {
    try {
      const path = `stream?after=${store.last}`;
      told("waiting");
      await api.stream(path, undefined, (name, data) => {
        told("on");
        store.take(name, data);
      });
    } catch (error) {
      if (error.status === 401 || error.status === 404) {
        await told("refused", error);
        continue;
      }
    }
    told("off");
    await new Promise((resolve) => setTimeout(resolve, 1500));
  }
}
