// Blocks by heads, colored by a measure.

import { count, field, fill, h, number, select } from "./dom.js";
import { Asker } from "./api.js";
import { componentGrid, paint } from "./grid.js";
import { gridFigure } from "./figure.js";
import { reproduce } from "./reproduce.js";
import { go, link } from "./state.js";

export function mount(root, ctx) {
  const status = h("div", { class: "status" }), place = h("div"), told = h("p", { class: "readout", "aria-live": "polite" });
  const measures = [["norm", "size of the contribution"], ["share", "share of the variance"], ["score", "score for a feature"], ["name", ctx.readable ? "R² of its name" : "share of its name"]];
  const features = Object.keys(ctx.features);
  const measure = select(measures, "norm", () => change());
  const feature = select(features.map((name) => [name, name]), features[0], () => change());
  const featureField = field("Feature", feature);
  const change = () => go("model", { measure: measure.value, feature: measure.value === "score" ? feature.value : null });
  const asker = new Asker(status);
  root.append(
    h("h1", { text: "Which part does what" }),
    h("p", { class: "lead", text: "Every square is one component of the exact sum. Choose what colors it; open one to see its name and its images." }),
    h("div", { class: "controls" }, field("Color by", measure), featureField), status, place,
  );

  async function update(params) {
    measure.value = params.get("measure") || "norm";
    feature.value = params.get("feature") || features[0];
    featureField.hidden = measure.value !== "score";
    const body = { measure: measure.value, feature: measure.value === "score" ? feature.value : null };
    let result;
    try { result = await asker.ask("model", body); } catch { return; }
    const { values, names, meaning, images, of } = result.answer;
    const over = of > images ? `${count(images)} of ${count(of)} images, a sample` : `${count(images)} images`;
    const known = Object.entries(values).filter(([name]) => name in ctx.short).map(([, value]) => value);
    const low = Math.min(0, ...known), high = Math.max(0, ...known);
    const say = (name) => `${ctx.short[name] ?? name}: ${number(values[name])}${names[name] ? ` · ${names[name]}` : ""}`;
    const open = (component) => go("component", { component: component.name });
    const cells = componentGrid(ctx, `Components by ${meaning}`, (component) => {
      const cell = h("button", { type: "button", class: "cell", "aria-label": say(component.name), "data-name": component.name, onclick: () => open(component) });
      if (component.name in values) paint(cell, values[component.name], low, high);
      return cell;
    }, { onshow: (cell) => { told.textContent = say(cell.dataset.name); } });
    told.textContent = `${meaning}; over ${over}`;
    const best = Object.entries(values).filter(([name]) => name in ctx.short).sort((a, b) => b[1] - a[1]).slice(0, 10);
    const constants = ctx.components.filter((c) => c.constant && c.name in values);
    const title = `${ctx.model}: ${measures.find(([key]) => key === measure.value)[1]}${body.feature ? ` ${body.feature}` : ""}`;
    fill(place,
      h("div", { class: "split" },
        h("div", { class: "wide" }, h("div", { class: "scroll", tabindex: -1 }, cells), h("div", { class: "legend", "aria-hidden": "true" }, h("span", { text: number(low < 0 ? -Math.max(-low, high) : 0) }), h("span", { class: low < 0 ? "ramp signed" : "ramp" }), h("span", { text: number(Math.max(-low, high)) })), told),
        h("div", { class: "narrow" }, h("h2", { text: "The largest" }), h("ol", { class: "ranking" }, best.map(([name, value]) => h("li", {}, h("a", { href: link("component", { component: name }), text: ctx.short[name] }), names[name] ? h("span", { class: "hint", text: ` ${names[name]}` }) : null, h("span", { class: "value", text: number(value) })))))),
      constants.length > 0 && h("details", {}, h("summary", { text: `${constants.length} constants, the same for every image` }), h("ul", { class: "constants" }, constants.map((c) => h("li", {}, h("span", { text: c.name }), h("span", { class: "value", text: number(values[c.name]) }))))),
      reproduce({
        ...result, stem: `model-${measure.value}`, figure: () => gridFigure(ctx, title, `${meaning}; ${over}`, values),
        table: () => ({ columns: ["component", "kind", "block", "head", measure.value, "name"], rows: ctx.components.filter((c) => c.name in values).map((c) => [c.name, c.kind, c.block, c.head, values[c.name], names[c.name]]) }),
      }),
    );
  }
  return { update, leave: () => asker.drop() };
}
