// One image: contributions by block, words of its parts and of its tokens, maps.

import { field, fill, fixed, h, percent } from "./dom.js";
import { Asker } from "./api.js";
import { grid, paint } from "./grid.js";
import { barFigure, sheetFigure } from "./figure.js";
import { dropzone, mapItems, panels, thumbnail } from "./images.js";
import { reproduce } from "./reproduce.js";
import { go, link } from "./state.js";

const OFFERED = 10;

export function mount(root, ctx) {
  const [status, tokenStatus, mapStatus] = [0, 1, 2].map(() => h("div", { class: "status" }));
  const [place, tokens, maps] = [0, 1, 2].map(() => h("div"));
  const [asker, reader, mapper] = [status, tokenStatus, mapStatus].map((where) => new Asker(where));
  let about = {}, last = "";
  const some = ctx.thumbnails ? [...Array(Math.min(OFFERED, ctx.images)).keys()] : [];
  const text = h("input", { type: "text", autocomplete: "off", placeholder: ctx.world ? "a red circle" : "a dog" });
  const methods = ctx.methods.map((name) => h("label", { class: "check" }, h("input", { type: "checkbox", value: name }), name));
  const mapForm = h("form", { class: "map-form", onsubmit: (event) => { event.preventDefault(); go("image", { ...about, text: text.value.trim(), method: chosen() }); } },
    h("div", { class: "controls" }, field("Where is", text), h("button", { type: "submit", text: "Show maps" })), h("fieldset", {}, h("legend", { text: "Methods" }), h("div", { class: "checks" }, methods)));
  const boxes = methods.map((one) => one.querySelector("input"));
  const chosen = () => boxes.filter((box) => box.checked).map((box) => box.value);
  const mapping = h("section", { hidden: true }, h("h2", { text: "Where it is seen" }), mapForm, mapStatus, maps);
  root.append(h("h1", { text: "One image" }), dropzone(root, "Your own image", (found) => go("image", { upload: found.id, name: found.name })),
    some.length > 0 && h("div", { class: "strip", role: "group", "aria-label": "Images to choose from" }, some.map((row) => h("a", { href: link("image", { row }), "aria-label": `image ${row}` }, thumbnail(ctx, row, "")))),
    status, place, tokenStatus, tokens, mapping);

  async function update(params) {
    about = { upload: params.get("upload"), name: params.get("name"), row: params.get("row") };
    const key = JSON.stringify(about), fresh = key !== last;
    const photo = { upload: about.upload, row: about.row === null ? null : Number(about.row) };
    text.value = params.get("text") || "";
    const asked = params.getAll("method");
    for (const box of boxes) box.checked = asked.length ? asked.includes(box.value) : box.value === "decompose";
    if (!about.upload && about.row === null) { last = ""; mapping.hidden = true; [place, tokens, maps].forEach((one) => one.replaceChildren()); return; }
    mapping.hidden = false;
    if (fresh) { last = key; [tokens, maps].forEach((one) => one.replaceChildren()); }
    if (fresh && !(await whole(photo))) { last = ""; return; }
    if (text.value) await mapped(photo);
    if (fresh) await latent(photo);
  }

  async function whole(photo) {
    let result;
    try { result = await asker.ask("image", photo); } catch { return false; }
    const found = result.answer, largest = Math.max(...found.blocks.map((one) => Math.abs(one.share)));
    text.placeholder = found.words[0]?.text ?? text.placeholder;
    fill(place,
      h("div", { class: "split" },
        h("figure", { class: "narrow" }, h("img", { class: "large", src: found.picture, alt: found.name }), h("figcaption", { class: "id", text: found.name }),
          h("p", { class: "words", text: found.words.map((one) => one.text).join(" · ") }), h("p", { class: "hint", text: `The texts nearest to the whole. The parts add up to it within ${found.error.toExponential(0)}.` }),
          photo.row !== null ? h("a", { href: link("search", { row: photo.row }), text: "Images like this" }) : h("a", { href: link("search", { upload: about.upload, name: about.name }), text: "Images like this" })),
        h("div", { class: "wide" }, h("h2", { text: "By block" }), h("ul", { class: "bars" }, found.blocks.map((one) => h("li", {}, h("span", { class: "label", title: one.block, text: short(one.block) }), h("span", { class: one.share < 0 ? "track negative" : "track", "aria-hidden": "true" }, h("span", { style: { width: `${(100 * Math.abs(one.share)) / largest}%` } })), h("span", { class: "value", text: percent(one.share) })))))),
      h("h2", { text: "Its largest parts, in words" }), h("p", { class: "hint", text: "What each adds to its mean over all images, by the texts that are nearest." }),
      h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "largest parts" }, h("table", { class: "parts" }, h("thead", {}, h("tr", {}, ["component", "share", "words"].map((title) => h("th", { scope: "col", text: title })))),
        h("tbody", {}, found.parts.map((part) => h("tr", {}, h("td", {}, h("a", { href: link("component", { component: part.component }), text: ctx.short[part.component] ?? part.component })), h("td", { class: "value", text: percent(part.share) }), h("td", { text: part.words.map((one) => `${one.text} ${fixed(one.similarity)}`).join(" · ") })))))),
      reproduce({
        ...result, stem: "image", figure: () => barFigure(`Contributions to ${found.name}`, `${ctx.model}; share of the sum`, found.blocks.map((one) => ({ label: one.block, value: one.share, text: percent(one.share) }))),
        table: () => ({ columns: ["component", "share"], rows: Object.entries(found.shares) }),
      }));
    return true;
  }

  const short = (block) => { const row = ctx.layout.rows.find((one) => one.block === block); return row ? `block ${row.short}` : block; };

  async function mapped(photo) {
    let result;
    const rows = photo.row === null ? [] : [photo.row];
    try { result = await mapper.ask("maps", { texts: [text.value], upload: photo.upload, rows, methods: chosen() }); } catch { maps.replaceChildren(); return; }
    maps.replaceChildren(panels(result.answer), reproduce({ ...result, stem: "maps", figure: () => sheetFigure(`Where “${text.value}” is seen`, ctx.model, mapItems(result.answer)) }));
  }

  async function latent(photo) {
    let result;
    try { result = await reader.ask("tokens", photo); } catch { tokens.replaceChildren(); return; }
    tokens.replaceChildren(h("h2", { text: "Its tokens, in words" }), tokenView(result.answer), reproduce({ ...result, stem: "tokens", table: () => tokenTable(result.answer) }));
  }
  return { update, leave: () => [asker, reader, mapper].forEach((one) => one.drop()) };
}

function tokenView(found) {
  const told = h("p", { class: "readout", "aria-live": "polite" }), place = h("div");
  const slider = h("input", { type: "range", min: 0, max: found.layers.length - 1, value: found.layers.length - 1, oninput: () => draw() });
  const words = (layer, i) => found.words[layer][i].map((n, j) => `${found.texts[n]} ${fixed(found.similarities[layer][i][j])}`).join(" · ");
  const patches = found.tokens.map((token, i) => ({ ...token, i })).filter((token) => token.kind === "patch" && token.grid?.length === 2);
  const singles = found.tokens.map((token, i) => ({ ...token, i })).filter((token) => token.kind !== "patch" && token.kind !== "padding");
  function draw() {
    const layer = Number(slider.value), top = found.similarities[layer].map((token) => token[0]);
    slider.setAttribute("aria-valuetext", `layer ${found.layers[layer]} of ${found.layers.at(-1)}`);
    const low = Math.min(...top), high = Math.max(...top), label = (token) => `${token.kind === "patch" ? `row ${token.row + 1}, column ${token.column + 1}` : token.kind}: ${words(layer, token.i)}`;
    const first = patches[0]?.grid, lines = [];
    for (const token of patches.filter((one) => String(one.grid) === String(first))) {
      const cell = h("button", { type: "button", class: "cell", "aria-label": label(token), onclick: () => { told.textContent = label(token); } });
      paint(cell, top[token.i] - low, 0, high - low);
      (lines[token.row] ||= { cells: [] }).cells[token.column] = cell;
    }
    fill(place,
      h("p", {}, singles.slice(0, 6).map((token) => h("span", { class: "single", text: label(token) }))),
      lines.length > 0 && h("div", { class: "over" }, h("img", { src: found.picture, alt: "" }), grid("Patches", lines, { className: "patches", onshow: (cell) => { told.textContent = cell.getAttribute("aria-label"); } })));
    told.textContent = "The more color, the nearer is a text. From the layer on, every token attends to itself alone.";
  }
  draw();
  return h("div", { class: "tokens" }, field("Layer", slider), place, told);
}

const tokenTable = (found) => ({
  columns: ["layer", "token", "kind", "row", "column", "text", "similarity"],
  rows: found.layers.flatMap((layer, l) => found.tokens.map((token, i) => [layer, i, token.kind, token.row, token.column, found.texts[found.words[l][i][0]], found.similarities[l][i][0]])),
});
