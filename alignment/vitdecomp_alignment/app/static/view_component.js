// One component: its name, the images that it responds to most and least, maps over them.

import { count, field, fill, fixed, h, number, percent, select } from "./dom.js";
import { Asker } from "./api.js";
import { sheetFigure } from "./figure.js";
import { hitItems, hits, hitsTable, mapItems, panels } from "./images.js";
import { reproduce } from "./reproduce.js";
import { go, link } from "./state.js";

export function mount(root, ctx) {
  const able = ctx.components.filter((c) => !c.constant);
  const status = h("div", { class: "status" }), place = h("div"), mapStatus = h("div", { class: "status" }), maps = h("div");
  const asker = new Asker(status), mapper = new Asker(mapStatus);
  const component = select(able.map((c) => [c.name, ctx.short[c.name] ?? c.name]), able[0]?.name, () => go("component", { component: component.value }));
  const text = h("input", { type: "text", placeholder: "the first text of its name", autocomplete: "off" });
  const form = h("form", { class: "controls", onsubmit: (event) => { event.preventDefault(); go("component", { component: component.value, text: text.value.trim() }); } },
    field("Component", component), field("Order images along", text), h("button", { type: "submit", text: "Show" }));
  root.append(h("h1", { text: "One component" }), form, status, place, mapStatus, maps);

  async function update(params) {
    const name = params.get("component") || able[0]?.name;
    component.value = name;
    text.value = params.get("text") || "";
    mapper.drop();
    let result;
    try { result = await asker.ask("component", { component: name, text: params.get("text") }); } catch { return; }
    const found = result.answer;
    const i = able.findIndex((c) => c.name === name);
    const neighbors = [[-1, "← previous"], [1, "next →"]].filter(([step]) => able[i + step]).map(([step, label]) => h("a", { href: link("component", { component: able[i + step].name }), text: label }));
    maps.replaceChildren();
    mapStatus.replaceChildren();
    fill(place,
      h("div", { class: "split" },
        h("div", { class: "narrow" }, h("h2", { text: ctx.short[name] ?? name }), h("p", { class: "hint id", text: name }),
          h("dl", { class: "facts" }, [["kind", found.kind], ["size", number(found.norm)], ["share of the variance", percent(found.share)]].map(([key, value]) => h("div", {}, h("dt", { text: key }), h("dd", { text: value })))), h("p", { class: "neighbors" }, neighbors)),
        h("div", { class: "wide" }, h("h2", { text: "Its name" }), names(found.names), found.measured < found.images && h("p", { class: "hint", text: `Name, size and share are measured on a sample of ${count(found.measured)} of ${count(found.images)} images.` }))),
      h("h2", { text: `Images along “${found.text}”` }), h("p", { class: "hint", text: `Cosine with the text in this component alone, out of ${count(found.images)} images.` }),
      h("div", { class: "beside" }, h("div", {}, h("h3", { text: "Most" }), hits(ctx, "responds most", found.most)), h("div", {}, h("h3", { text: "Least" }), hits(ctx, "responds least", found.least))),
      ctx.thumbnails && h("div", { class: "action-line" }, h("button", { type: "button", text: "Heatmaps over the first", onclick: () => explain(found) }), h("a", { href: link("search", { text: found.text, components: name }), text: "Search by this component" })),
      reproduce({
        ...result, stem: `component-${name}`, table: () => hitsTable([["most", found.most], ["least", found.least]]),
        figure: () => sheetFigure(`${name}`, `${ctx.model}; along “${found.text}”`, [{ title: "Most", items: hitItems(ctx, found.most) }, { title: "Least", items: hitItems(ctx, found.least) }]),
      }),
    );
    if (params.get("maps")) explain(found);
  }

  async function explain(found) {
    let result;
    try { result = await mapper.ask("maps", { texts: [found.text], rows: found.most.slice(0, 4).map((hit) => hit.row), components: [found.component.replaceAll("[", "[[]")] }); } catch { return; }
    maps.replaceChildren(h("h2", { text: "Where it sees that" }), panels(result.answer), reproduce({ ...result, stem: `maps-${found.component}`, figure: () => sheetFigure(found.component, `${ctx.model}; “${found.text}”`, mapItems(result.answer)) }));
  }
  return { update, leave: () => { asker.drop(); mapper.drop(); } };
}

function names(named) {
  if (named.why) return h("p", { class: "hint", text: `No name: ${named.why}` });
  const read = named.method === "readability";
  const sure = !read || named.named;
  return h("div", {},
    h("ol", { class: "names" }, named.texts.map((one) => {
      const value = read ? one.r2 : one.explained;
      return h("li", { class: sure ? "" : "unsure" }, h("span", { class: "text", text: one.text }), h("span", { class: "track", "aria-hidden": "true" }, h("span", { style: { width: `${100 * Math.max(0, Math.min(1, value))}%` } })), h("span", { class: "value", text: read ? `${fixed(value)} ± ${fixed(one.error)}` : percent(value) }));
    })),
    h("p", { class: "hint", text: read
      ? (sure ? `R² on images held out, with standard error; shuffled images reach ${fixed(named.control)}.` : `No name: no text is read better than in shuffled images, which reach ${fixed(named.control)}.`)
      : "Share of its variance that each text explains, through the maps." }));
}
