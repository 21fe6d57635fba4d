// Images of hits, and a place to drop one's own.

import { fixed, h, toast } from "./dom.js";
import { link } from "./state.js";
import { upload } from "./api.js";

export const source = (row, side = 160) => `/api/images/${row}?side=${side}`;

export function thumbnail(ctx, row, name) {
  if (!ctx.thumbnails) return h("span", { class: "noimage", text: "no image" });
  const image = h("img", { src: source(row), alt: name, loading: "lazy" });
  image.addEventListener("load", () => image.classList.toggle("small", image.naturalWidth < 100));
  image.addEventListener("error", () => image.replaceWith(h("span", { class: "noimage", text: "no image" })));
  return image;
}

export function hits(ctx, label, found) {
  return h("ol", { class: "hits", "aria-label": label }, found.map((hit) => h("li", {},
    h("a", { href: link("image", { row: hit.row }) }, thumbnail(ctx, hit.row, hit.id),
      h("span", { class: "caption" }, h("span", { class: "score", text: fixed(hit.score, 3) }), " ", h("span", { class: "id", text: hit.id, title: hit.id }))))));
}

export const hitsTable = (sections) => ({
  columns: ["list", "rank", "row", "image", "score"],
  rows: sections.flatMap(([list, found]) => found.map((hit, i) => [list, i + 1, hit.row, hit.id, hit.score])),
});

export const hitItems = (ctx, found) => found.map((hit) => ({ src: ctx.thumbnails ? source(hit.row) : null, label: `${fixed(hit.score, 3)} ${hit.id}` }));

// A button that takes a file, and drops anywhere on `area`.
export function dropzone(area, label, taken) {
  const input = h("input", { type: "file", accept: "image/*", class: "offscreen", tabindex: -1, "aria-label": label });
  const take = async (file) => {
    if (!file) return;
    zone.setAttribute("aria-busy", "true");
    try { taken(await upload(file)); } catch (error) { toast(error.message); told.textContent = error.message; } finally { zone.removeAttribute("aria-busy"); }
  };
  const told = h("span", { class: "hint", role: "status" });
  input.addEventListener("change", () => { take(input.files[0]); input.value = ""; });
  const zone = h("button", { type: "button", class: "dropzone", onclick: () => input.click() }, h("span", { text: label }), h("span", { class: "hint", text: "drop a file anywhere here, or press to choose one" }));
  area.addEventListener("dragover", (event) => { event.preventDefault(); zone.classList.add("over"); });
  area.addEventListener("dragleave", () => zone.classList.remove("over"));
  area.addEventListener("drop", (event) => { event.preventDefault(); zone.classList.remove("over"); take(event.dataTransfer.files[0]); });
  return h("div", { class: "drop" }, zone, input, told);
}

export function panels(found) {
  return h("div", { class: "maps" }, found.images.map((one) => h("figure", { class: "map-row" },
    h("figcaption", { text: one.name }),
    h("div", { class: "panels" }, h("div", { class: "panel" }, h("img", { src: one.picture, alt: `the image ${one.name}` }), h("p", { class: "caption", text: "the image" })),
      one.maps.map((map) => h("div", { class: "panel" },
        h("img", { src: map.picture, alt: `map of ${map.text} by ${map.method} over ${one.name}` }),
        h("p", { class: "caption" }, h("strong", { text: map.method }), ` ${map.text}`),
        h("div", { class: "scale", "aria-hidden": "true" }, h("span", { text: fixed(map.low, 3) }), h("span", { class: "bar", style: { background: `linear-gradient(90deg, ${map.stops.join(",")})` } }), h("span", { text: fixed(map.high, 3) })),
        h("dl", { class: "audit" }, Object.entries(map.caption).map(([name, text]) => h("div", {}, h("dt", { text: name }), h("dd", { text }))))))))));
}

export const mapItems = (found) => found.images.map((one) => ({ title: one.name, items: [{ src: one.picture, label: "the image" }, ...one.maps.map((map) => ({ src: map.picture, label: `${map.method}: ${map.text}` }))] }));
