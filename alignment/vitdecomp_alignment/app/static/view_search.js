// Words or an image, in one feature or by chosen components, beside the whole embedding.

import { count, field, fill, h, select } from "./dom.js";
import { Asker } from "./api.js";
import { componentGrid } from "./grid.js";
import { sheetFigure } from "./figure.js";
import { dropzone, hitItems, hits, hitsTable, thumbnail } from "./images.js";
import { reproduce } from "./reproduce.js";
import { go } from "./state.js";

export function mount(root, ctx) {
  const status = h("div", { class: "status" }), place = h("div"), reference = h("div", { class: "reference" });
  const besideStatus = h("div", { class: "status" });
  const asker = new Asker(status), second = new Asker(besideStatus);
  const text = h("input", { type: "search", placeholder: ctx.world ? "something in a forest" : "a photo of a forest", autocomplete: "off" });
  const negative = h("input", { type: "text", autocomplete: "off" });
  const scope = select([["", "everything"], ...Object.keys(ctx.features).map((name) => [name, `${name} only`])], "", () => send());
  const state = { upload: null, name: null, row: null, components: new Set() };
  const chosen = h("span", { class: "hint" });
  const cells = componentGrid(ctx, "Components to search by", (component) => h("button", {
    type: "button", class: "cell pick", "data-name": component.name, "aria-label": ctx.short[component.name], "aria-pressed": "false",
    onclick: (event) => { const on = !state.components.delete(component.name); if (on) state.components.add(component.name); event.target.setAttribute("aria-pressed", on); say(); },
  }), { onshow: (cell) => { chosen.textContent = `${ctx.short[cell.dataset.name]} · ${state.components.size} chosen`; } });
  const say = () => { chosen.textContent = state.components.size ? `${state.components.size} chosen` : "none chosen: all count"; };
  const hand = h("details", { class: "hand" }, h("summary", { text: "Components by hand" }), h("div", { class: "scroll", tabindex: -1 }, cells),
    h("p", {}, chosen, " ", h("button", { type: "button", class: "quiet", text: "Clear", onclick: () => { state.components.clear(); mark(); send(); } })));
  const mark = () => { for (const cell of cells.querySelectorAll(".pick")) cell.setAttribute("aria-pressed", state.components.has(cell.dataset.name)); say(); };
  const send = () => go("search", { text: text.value.trim(), not: negative.value.trim(), upload: state.upload, name: state.name, row: state.row, feature: scope.value, components: [...state.components] });
  const form = h("form", { class: "search-form", onsubmit: (event) => { event.preventDefault(); send(); } },
    h("div", { class: "controls" }, field("Look for", text), field("In", scope), field("Not like", negative), h("button", { type: "submit", text: "Search" })),
    h("div", { class: "controls" }, dropzone(root, "Search by an image", (found) => { Object.assign(state, { upload: found.id, name: found.name, row: null }); send(); }), reference), hand);
  root.append(h("h1", { text: "Search" }), form, status, place);

  async function update(params) {
    text.value = params.get("text") || "";
    negative.value = params.get("not") || "";
    scope.value = params.get("feature") || "";
    Object.assign(state, { upload: params.get("upload"), name: params.get("name"), row: params.get("row"), components: new Set(params.getAll("components")) });
    hand.open ||= state.components.size > 0;
    mark();
    shownReference();
    if (!text.value && !state.upload && state.row === null) {
      place.replaceChildren(h("p", { class: "lead", text: "Type some words, or drop an image. In one feature only what its words differ in counts, so that a forest is found whatever stands in it." }));
      return;
    }
    const body = { text: text.value || null, negative: negative.value || null, upload: state.upload, row: state.row === null ? null : Number(state.row), feature: scope.value || null, components: [...state.components] };
    second.drop();
    let result;
    try { result = await asker.ask("search", { ...body, beside: false }); } catch { return; }
    const scoped = Boolean(scope.value || state.components.size);
    show(result, scoped);
    if (!scoped) return;
    try { result = await second.ask("search", body); } catch { return; }
    show(result, false);
  }

  // The hits; those of the whole embedding take longer the first time, and come later.
  function show(result, waiting) {
    const found = result.answer;
    const by = [scope.value && `in ${scope.value}`, state.components.size && `by ${state.components.size} component${state.components.size > 1 ? "s" : ""}`].filter(Boolean).join(", ") || "in everything";
    const lists = [[by, found.hits], ...(found.whole.length ? [["in the whole embedding", found.whole]] : [])];
    const asked = [text.value && `“${text.value}”`, state.name, state.row !== null && `row ${state.row}`].filter(Boolean).join(" and ");
    fill(place,
      h("h2", { text: `Like ${asked}` }), h("p", { class: "hint", text: `The nearest of ${count(found.images)} images, by cosine.` }),
      h("div", { class: waiting || lists.length > 1 ? "beside" : "" }, lists.map(([title, list]) => h("div", {}, h("h3", { text: title }), hits(ctx, `hits ${title}`, list))), waiting && h("div", {}, h("h3", { text: "in the whole embedding" }), besideStatus)),
      found.left_out.length > 0 && h("p", { class: "hint", text: `Left out, since it is what was looked for: ${found.left_out.map((hit) => hit.id).join(", ")}.` }),
      !waiting && reproduce({ ...result, stem: "search", table: () => hitsTable(lists), figure: () => sheetFigure(`Like ${asked}`, `${ctx.model}; ${count(found.images)} images`, lists.map(([title, list]) => ({ title, items: hitItems(ctx, list) }))) }),
    );
  }

  function shownReference() {
    const clear = h("button", { type: "button", class: "quiet", text: "Remove the image", onclick: () => { Object.assign(state, { upload: null, name: null, row: null }); send(); } });
    if (state.upload) reference.replaceChildren(h("img", { src: `/api/uploads/${encodeURIComponent(state.upload)}?side=96`, alt: state.name || "the image that is looked for" }), h("span", { class: "id", text: state.name || "" }), clear);
    else if (state.row !== null) reference.replaceChildren(thumbnail(ctx, Number(state.row), `row ${state.row}`), clear);
    else reference.replaceChildren();
  }
  return { update, leave: () => { asker.drop(); second.drop(); } };
}
