// Elements are made of text, never of markup: what a stranger's file is called is shown, not obeyed.

const SPECIAL = { class: "className", text: "textContent" };

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in SPECIAL) element[SPECIAL[name]] = value;
    else if (name === "style") Object.entries(value).forEach(([key, text]) => element.style.setProperty(key, text));
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// Like `replaceChildren`, without what is not there.
export const fill = (place, ...children) => place.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));

const SVG = "http://www.w3.org/2000/svg";

export function s(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children.flat(Infinity));
  return element;
}

export const number = (value, digits = 3) =>
  value === null || value === undefined || Number.isNaN(value) ? "–" : Number(value).toPrecision(digits).replace("-", "\u2212");
export const fixed = (value, digits = 2) => Number(value).toFixed(digits).replace(/^-(?=0\.?0*$)/, "").replace("-", "\u2212");
export const percent = (value, digits = 1) => `${fixed(100 * value, digits)} %`;
export const count = (value) => Number(value).toLocaleString("en");

export function toast(text) {
  const place = document.getElementById("toast");
  place.textContent = text;
  place.classList.add("shown");
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => place.classList.remove("shown"), 2600);
}

let ids = 0;

export function field(label, control, hint = null) {
  control.id ||= `field-${(ids += 1)}`;
  return h("div", { class: "field" }, h("label", { for: control.id, text: label }), control, hint && h("p", { class: "hint", text: hint }));
}

export function select(options, value, onchange) {
  const made = h("select", { onchange });
  for (const [key, text] of options) made.append(h("option", { value: key, text }));
  made.value = value;
  return made;
}
