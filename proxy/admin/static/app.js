// The inspector: which page is shown, keys, light and dark, and the token.

import { setToken, takeToken } from "./api.js";
import { fill, h, plural } from "./dom.js";
import { exchange } from "./exchange.js";
import { HELP } from "./filter.js";
import { health } from "./health.js";
import { listen, live, store } from "./live.js";
import { rules } from "./rules.js";
import { trying } from "./trying.js";

const main = document.getElementById("main");
const link = document.getElementById("link");
const KEYS = [
  ["/", "to the filter"], ["j k", "down and up, or to the exchange before and after"], ["enter", "open"], ["esc", "back"], ["p", "pause the list, and go on"],
  ["c", "an exchange: copy as curl"], ["s", "an exchange: save as test"], ["t", "an exchange: try it"], ["g l", "live"], ["g r", "rules"], ["g t", "try it"], ["g h", "health"], ["?", "this help"],
];
const PAGES = { live, rules, try: trying, health };
const GO = { l: "live", r: "rules", t: "try", h: "health" };
let page = null;
let going = false;

function route() {
  const [, name, n] = /^#\/(\w+)(?:\/(\d+))?/.exec(location.hash) ?? [null, "live"];
  page?.end();
  page = name === "x" && n ? exchange(Number(n)) : (PAGES[name] ?? live)();
  document.title = `${page.title} · Vestibule inspector`;
  for (const one of document.querySelectorAll("[data-page]")) {
    if (one.dataset.page === name || (name === "x" && one.dataset.page === "live")) one.setAttribute("aria-current", "page");
    else one.removeAttribute("aria-current");
  }
  fill(main, page.element);
  main.focus({ preventScroll: true });
  window.scrollTo(0, 0);
  Promise.resolve(page.begin()).catch((error) => {
    if (error.name === "AbortError") return;
    if (error.status === 401) askToken();
    else page.element.append(h("p.missing", {}, error.message));
  });
}

// The token

let asking = null;

/** Ask for the token; resolves when one was given. */
function askToken() {
  asking ??= new Promise((resolve) => {
    const input = h("input", { type: "password", autocomplete: "off", required: true });
    const dialog = h("dialog.token-dialog", { "aria-labelledby": "token-title" }, h("form", { method: "dialog" }, h("h2", { id: "token-title" }, "A token is needed"),
      h("p", {}, "It is the secret that `admin.token` names. It stays in this page: reloading asks for it again, and so does an address that ends with ", h("code", {}, "#token=…"), " for you."),
      h("label.field", {}, h("span", {}, "Token"), input), h("button.main", { type: "submit" }, "Go on")));
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    dialog.addEventListener("close", () => {
      setToken(input.value);
      input.value = "";
      dialog.remove();
      asking = null;
      resolve();
      route();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
  return asking;
}

async function connection(state, error) {
  const said = { on: "live", waiting: "connecting", off: "not connected", refused: "a token is needed" };
  link.className = `link ${state}`;
  link.textContent = said[state];
  if (state === "refused" && error.status === 401) await askToken();
  else if (state === "refused") await new Promise((resolve) => setTimeout(resolve, 5000));
}

// Light and dark

const THEMES = ["auto", "light", "dark"];
const themeButton = document.getElementById("theme");

function theme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  themeButton.textContent = { auto: "◐ Auto", light: "○ Light", dark: "● Dark" }[name];
  themeButton.setAttribute("aria-label", `Colours: ${name}`);
}

let chosen = THEMES.includes(localStorage.getItem("vestibule-theme")) ? localStorage.getItem("vestibule-theme") : "auto";
themeButton.addEventListener("click", () => {
  chosen = THEMES[(THEMES.indexOf(chosen) + 1) % THEMES.length];
  localStorage.setItem("vestibule-theme", chosen);
  theme(chosen);
});

// Help and keys

function help() {
  if (document.querySelector("dialog[open]")) return;
  const dialog = h("dialog.help", { "aria-labelledby": "help-title" }, h("h2", { id: "help-title" }, "Keys"), h("dl", {}, KEYS.map(([key, text]) => [h("dt", {}, key.split(" ").map((one) => h("kbd", {}, one))), h("dd", {}, text)])),
    h("h2", {}, "Filter words"), h("dl", {}, HELP.map(([word, text]) => [h("dt", {}, h("code", {}, word)), h("dd", {}, text)])),
    h("p.dim", {}, `What is secret was replaced before it came here. ${plural(store.rows.length, "exchange")} in this page.`), h("button", { type: "button", onclick: () => dialog.close() }, "Close ", h("kbd", {}, "esc")));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

document.getElementById("help").addEventListener("click", help);
document.querySelector("[data-skip]").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const typing = event.target.matches?.("input, textarea, select");
  if (event.key === "Escape") {
    page.escape?.();
    return;
  }
  // A button or a link that has the focus is pressed by Enter, as everywhere.
  if (typing || (event.key === "Enter" && event.target.matches?.("a, button, summary"))) return;
  if (going && GO[event.key]) {
    event.preventDefault();
    going = false;
    location.hash = `#/${GO[event.key]}`;
    return;
  }
  going = event.key === "g";
  const act = event.key === "?" ? help : page.keys[event.key];
  if (act) {
    event.preventDefault();
    act();
  }
});

takeToken();
theme(chosen);
window.addEventListener("hashchange", () => {
  if (location.hash.startsWith("#token=")) takeToken();
  route();
});
route();
listen(connection);
