// A list of any length: only the rows in sight are elements, and they are used again as the list moves.

import { h } from "./dom.js";

const SPARE = 6;

export class Table {
  /** `columns` are {name, label, write(cell, row)}; `open` is called with the row that was chosen. */
  constructor({ columns, label, open }) {
    this.columns = columns;
    this.open = open;
    this.rows = [];
    this.selected = null;
    this.pool = [];
    this.space = h("div.space", { role: "presentation" });
    this.head = h("div.row.head", { role: "row", "aria-rowindex": 1 }, columns.map((one) => h(`span.${one.name}`, { role: "columnheader" }, one.label)));
    this.body = h("div.body", { role: "rowgroup" }, this.space);
    this.element = h("div.grid", { role: "grid", tabIndex: 0, "aria-label": label, "aria-readonly": "true" }, h("div", { role: "rowgroup" }, this.head), this.body);
    this.element.addEventListener("scroll", () => this.draw(), { passive: true });
    this.element.addEventListener("click", (event) => {
      const row = event.target.closest?.("[data-n]");
      if (row) this.open(Number(row.dataset.n));
    });
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(this.element);
  }

  close() {
    this.observer.disconnect();
  }

  /** Show rows, the last one on top; what is in sight stays in sight unless that is the top. */
  show(rows, added = 0) {
    this.rows = rows;
    const height = this.height();
    this.space.style.height = `${rows.length * height}px`;
    this.element.setAttribute("aria-rowcount", rows.length + 1);
    if (added && this.element.scrollTop > height / 2) this.element.scrollTop += added * height;
    this.draw();
  }

  height() {
    return parseFloat(getComputedStyle(this.element).getPropertyValue("--row")) || 34;
  }

  index(n) {
    let low = 0;
    let high = this.rows.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      if (this.rows[middle].n === n) return this.rows.length - 1 - middle;
      if (this.rows[middle].n < n) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }

  draw() {
    const height = this.height();
    const room = Math.ceil(this.element.clientHeight / height) + 2 * SPARE;
    while (this.pool.length < Math.min(room, this.rows.length)) this.pool.push(this.make());
    const first = Math.max(0, Math.min(Math.floor(this.element.scrollTop / height) - SPARE, this.rows.length - this.pool.length));
    this.pool.forEach((row, place) => {
      const index = first + place;
      const data = this.rows[this.rows.length - 1 - index];
      row.element.hidden = !data;
      if (data) this.put(row, data, index, height);
    });
    if (this.selected !== null && this.pool.some((row) => !row.element.hidden && row.n === this.selected))
      this.element.setAttribute("aria-activedescendant", `row-${this.selected}`);
    else this.element.removeAttribute("aria-activedescendant");
  }

  make() {
    const cells = this.columns.map((one) => h(`span.${one.name}`, { role: "gridcell" }));
    const element = h("div.row", { role: "row" }, cells);
    this.body.append(element);
    return { element, cells, n: 0 };
  }

  put(row, data, index, height) {
    const chosen = data.n === this.selected;
    row.element.style.transform = `translateY(${index * height}px)`;
    row.element.classList.toggle("chosen", chosen);
    row.element.setAttribute("aria-selected", String(chosen));
    row.element.setAttribute("aria-rowindex", index + 2);
    if (row.n === data.n) return;
    row.n = data.n;
    row.element.id = `row-${data.n}`;
    row.element.dataset.n = data.n;
    this.columns.forEach((one, place) => one.write(row.cells[place], data));
  }

  /** Choose the row so many places below the chosen one. */
  move(by) {
    if (!this.rows.length) return;
    const now = this.selected === null ? -1 : this.index(this.selected);
    const index = now < 0 && by < Infinity ? 0 : Math.max(0, Math.min(this.rows.length - 1, now + by));
    this.choose(this.rows[this.rows.length - 1 - index].n);
  }

  choose(n) {
    this.selected = n;
    const index = this.index(n);
    if (index < 0) return;
    const height = this.height();
    const head = this.head.offsetHeight;
    const top = index * height;
    if (top < this.element.scrollTop) this.element.scrollTop = top;
    const low = top + height + head - this.element.clientHeight;
    if (low > this.element.scrollTop) this.element.scrollTop = low;
    this.draw();
  }
}
