// A grid of cells that arrow keys walk through: blocks by heads, or the patches of an image.

import { h } from "./dom.js";

const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

export function grid(label, rows, { onshow = () => {}, className = "", heads = [] } = {}) {
  const places = rows.map((row) => row.cells);
  const root = h("div", { class: `grid ${className}`, role: "grid", "aria-label": label, style: { "--columns": Math.max(...places.map((line) => line.length)) } });
  if (heads.length) {
    root.append(h("div", { class: "line heads", role: "row" }, h("span", { role: "columnheader", class: "corner", "aria-label": "block" }), heads.map((head) => h("span", { role: "columnheader", text: head }))));
  }
  for (const row of rows) {
    const title = row.label === undefined ? [] : [h("span", { role: "rowheader", class: "block", title: row.title || row.label, text: row.label })];
    root.append(h("div", { class: "line", role: "row" }, title, row.cells.map((cell) => h("span", { role: "gridcell" }, cell))));
  }
  const cells = places.flat().filter((cell) => cell.tagName === "BUTTON");
  cells.forEach((cell, i) => { cell.tabIndex = i ? -1 : 0; });
  const focus = (cell) => {
    cells.forEach((one) => { one.tabIndex = one === cell ? 0 : -1; });
    cell.focus();
  };
  root.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    if (!step) return;
    let row = places.findIndex((line) => line.includes(event.target));
    let column = places[row]?.indexOf(event.target);
    for (;;) {
      row += step[0];
      column += step[1];
      const next = places[row]?.[column];
      if (!next) break;
      if (next.tagName === "BUTTON") { focus(next); break; }
    }
    event.preventDefault();
  });
  for (const kind of ["focusin", "pointerover"]) root.addEventListener(kind, (event) => cells.includes(event.target) && onshow(event.target));
  return root;
}

// Blocks by heads of a model; `make` makes the button of a component.
export function componentGrid(ctx, label, make, options = {}) {
  const { columns, rows } = ctx.layout;
  const lines = rows.map((row) => ({
    label: row.short, title: row.block,
    cells: columns.map((_, i) => (row.cells[i] ? make(row.cells[i]) : h("span", { class: "empty" }))),
  }));
  return grid(label, lines, { heads: columns, className: "components", ...options });
}

export function layoutOf(components) {
  const rows = new Map();
  const heads = Math.max(0, ...components.map((c) => (c.head === null ? 0 : c.head + 1)));
  const others = [];
  const column = (component) => {
    const own = component.name.startsWith(`${component.block}.`) ? component.name.slice(component.block.length + 1) : component.name;
    if (component.head !== null) return { column: component.head, of: own.replace(/\.?head\.\d+$/, "") };
    return { column: own, of: "" };
  };
  const known = components.filter((c) => !c.constant);
  const names = [];
  for (const component of known) {
    const place = column(component);
    if (typeof place.column === "string" && component.block && !names.includes(place.column)) names.push(place.column);
  }
  const many = names.length > 6;
  const columns = [...Array(heads).keys()].map(String).concat(many ? ["other"] : names.map((name) => name.split(".").pop()));
  for (const component of known) {
    const block = component.block || component.name;
    const place = column(component);
    const index = typeof place.column === "number" ? place.column : component.block ? heads + (many ? 0 : names.indexOf(place.column)) : 0;
    let key = `${block} ${place.of}`;
    while (rows.get(key)?.cells[index]) key += "'";
    if (!rows.has(key)) rows.set(key, { block, key, of: place.of, cells: {} });
    rows.get(key).cells[index] = component;
  }
  // the MLP of a block stands beside its heads
  for (const row of [...rows.values()]) {
    if (row.of) continue;
    const home = [...rows.values()].find((other) => other.of && other.block === row.block && !Object.keys(row.cells).some((i) => other.cells[i]));
    if (home) { Object.assign(home.cells, row.cells); rows.delete(row.key); }
  }
  const list = [...rows.values()];
  const prefix = shared(list.map((row) => row.block));
  for (const row of list) row.short = row.block.slice(prefix.length) || row.block;
  return { columns: columns.length ? columns : [""], rows: list, others };
}

function shared(names) {
  if (names.length < 2) return "";
  let prefix = names[0];
  for (const name of names) while (!name.startsWith(prefix)) prefix = prefix.slice(0, -1);
  return prefix.slice(0, prefix.lastIndexOf(".") + 1);
}

export function paint(cell, value, low, high) {
  const signed = low < 0;
  const largest = signed ? Math.max(-low, high) : high;
  const share = largest ? Math.max(-1, Math.min(1, value / largest)) : 0;
  cell.style.setProperty("--share", `${Math.round(100 * Math.abs(share) ** 0.8)}%`);
  cell.classList.toggle("negative", share < 0);
}
