// Elements, made of data. Text stays text: nothing here reads markup.

/** Make an element: h("a.quiet", {href: "#/live", onclick: f}, "text", child, ...). */
export function h(what, props = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name in element && name !== "list" && name !== "form") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Put other children in the place of those that an element has. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child || child === 0));
  return element;
}

const said = () => document.getElementById("said");
let fading = 0;

/** Say something at the foot of the page, for a while. */
export function say(text) {
  said().textContent = text;
  said().classList.add("shown");
  clearTimeout(fading);
  fading = setTimeout(() => said().classList.remove("shown"), 4000);
}

export const plural = (count, one, many = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

const two = (number) => String(number).padStart(2, "0");

/** Write the time of the day of an exchange, in the reader's zone. */
export function clock(seconds) {
  const time = new Date(seconds * 1000);
  const whole = `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
  return `${whole}.${String(time.getMilliseconds()).padStart(3, "0")}`;
}

export const moment = (seconds) => new Date(seconds * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });

/** Write how long ago something was. */
export function ago(seconds, now) {
  const past = Math.max(0, now - seconds);
  if (past < 60) return `${Math.floor(past)} s ago`;
  if (past < 3600) return `${Math.floor(past / 60)} min ago`;
  if (past < 86400) return `${Math.floor(past / 3600)} h ago`;
  return `${Math.floor(past / 86400)} d ago`;
}

/** Write milliseconds with three digits that count. */
export function ms(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 1000) return `${(value / 1000).toFixed(2)} s`;
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

export function bytes(value) {
  if (value < 1024) return `${value} B`;
  if (value < 1 << 20) return `${(value / 1024).toFixed(1)} KiB`;
  return value < 1 << 30 ? `${(value / (1 << 20)).toFixed(1)} MiB` : `${(value / (1 << 30)).toFixed(2)} GiB`;
}

export const statusClass = (status) => (status ? `s${Math.floor(status / 100)}` : "s0");

export const badge = (kind, text, title) => h("span", { class: `badge ${kind}`, title }, text);

/** Make a copy of a text for the clipboard. */
export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    say(`${what} is in the clipboard`);
  } catch {
    const box = h("textarea", { class: "code", rows: 8, readOnly: true, "aria-label": what }, text);
    const dialog = h("dialog", { "aria-label": what }, h("p", {}, "This browser keeps pages from the clipboard here. Copy it by hand:"), box,
      h("button", { type: "button", onclick: () => dialog.close() }, "Close"));
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
    box.select();
  }
}

/** Offer a text as a file. */
export function download(name, text, type) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = h("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
