// How the run is.

import * as api from "./api.js";
import { ago, badge, bytes, fill, h, moment, ms, plural } from "./dom.js";

const EVERY = 2000;

const card = (title, ok, ...content) => h("section.card", { class: `card ${ok === null ? "" : ok ? "good" : "bad"}` }, h("h2", {}, title), content);
const item = (name, ...value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));

function level(name, { now, most }, write = (value) => Math.round(value).toLocaleString("en")) {
  const bar = h("span.meter", { "aria-hidden": "true" }, h("span"));
  bar.firstChild.style.width = `${most ? Math.min(100, (100 * now) / most) : 0}%`;
  return item(name, write(now), most ? [h("span.dim", {}, ` of ${write(most)}`), bar] : null);
}

const yes = (held, good, bad) => (held ? badge("ok", good) : badge("failed", bad));

function draw(given) {
  const { levels, rules, key_sets: keys } = given;
  const revisions = new Set(given.workers.filter((one) => one.ready).map((one) => one.revision));
  return [
    h("p.decision", {}, given.ready ? badge("ok", "ready") : badge("failed", "not ready"), given.reasons.length ? ` ${given.reasons.join("; ")}` : ` since ${moment(given.started)}`),
    h("div.cards", {},
      card("Auth service", given.reached, h("dl", {}, item("Can be reached", yes(given.reached, "yes", "no")), item("At", h("code", {}, given.upstream)), level("Connections", levels.pool_open), level("Waiting", levels.pool_waiting))),
      card("Store", given.services.store ?? true, h("dl", {}, item("Kept in", given.store), item("Last call", given.services.store === undefined ? "none yet" : yes(given.services.store, "worked", "failed")))),
      card("Key sets", !keys.key_sets_failing, h("dl", {}, item("Known", keys.key_sets), item("Failing", keys.key_sets_failing), item("Last fetch", given.services.keys === undefined ? "none yet" : yes(given.services.keys, "worked", "failed")),
        item("Last lookup", given.services.lookup === undefined ? "none yet" : yes(given.services.lookup, "worked", "failed")))),
      card("Suspended", null, h("dl", {}, item("Exchanges suspended", given.suspended.toLocaleString("en")), item("Came back", given.returned.toLocaleString("en")))),
      card("Limits", null, h("dl", {}, level("Client connections", levels.connections), level("Under way", levels.exchanges), level("Memory of workers", levels.memory_resident_bytes, bytes), level("Bodies in memory", levels.memory_bodies_bytes, bytes))),
      card("Rules", rules.holds && revisions.size < 2, h("dl", {}, item("Versions served", [...revisions].map((one) => h("code.block", {}, one.slice(0, 12)))), item("Last reload", yes(rules.holds, rules.reloads ? "taken" : "none yet", "refused")),
        item("Reloads", `${rules.reloads} taken, ${rules.refused} refused`), item("Taken", rules.taken ? moment(rules.taken) : "at the start"))),
      card("Inspector", null, h("dl", {}, level("Exchanges kept", { now: given.kept.exchanges, most: given.kept.most }), item("Came", given.kept.came.toLocaleString("en")), item("Version", given.version)))),
    h("h2", {}, "Workers"),
    h("div.scroll", { tabIndex: 0, role: "region", "aria-label": "Workers" }, h("table.sheet", {}, h("caption", {}, `${plural(given.workers.length, "worker")}, begun ${ago(given.started, given.now)}; ${given.deaths ? plural(given.deaths, "death") : "none died"} since`),
      h("thead", {}, h("tr", {}, ["Process", "State", "Rules", "Version", "Under way", "Connections", "Memory", "Longest stall"].map((one) => h("th", { scope: "col" }, one)))),
      h("tbody", {}, given.workers.map((one) => h("tr", {}, h("th", { scope: "row" }, one.pid), h("td", {}, one.draining ? badge("plain", "draining") : yes(one.ready, "ready", "not ready")), h("td", {}, one.rules), h("td", {}, h("code", {}, one.revision.slice(0, 12))),
        h("td", {}, one.exchanges), h("td", {}, one.connections), h("td", {}, bytes(one.memory)), h("td", {}, `${ms(one.stall * 1000)} ms`)))))),
  ];
}

export function health() {
  const stop = new AbortController();
  const place = h("div", {}, h("p.dim", {}, "Loading…"));
  let timer = 0;

  async function look() {
    try {
      fill(place, draw(await api.json("health", stop.signal)));
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error.status === 401) throw error;
      fill(place, h("p.missing", {}, error.message));
    }
    timer = setTimeout(look, EVERY);
  }

  return {
    title: "Health", element: h("div.health-page", {}, h("h1", {}, "Health"), place), begin: look, keys: {},
    end: () => {
      stop.abort();
      clearTimeout(timer);
    },
  };
}
