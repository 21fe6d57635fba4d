// A cue: which groups a classifier gets wrong because of it, before and after.

import { count, field, fill, fixed, h, percent } from "./dom.js";
import { Asker } from "./api.js";
import { barFigure } from "./figure.js";
import { reproduce } from "./reproduce.js";
import { go, link } from "./state.js";

export function mount(root, ctx) {
  const status = h("div", { class: "status" }), place = h("div"), asker = new Asker(status);
  const cue = h("input", { type: "text", autocomplete: "off", required: true }), core = h("input", { type: "text", autocomplete: "off", required: true });
  const varying = ctx.components.filter((c) => !c.constant).length;
  const top = h("input", { type: "number", min: 1, max: varying, step: 1 }), limit = h("input", { type: "number", min: 8, max: 2000, step: 1 });
  const refit = h("input", { type: "checkbox" }), subspace = h("input", { type: "checkbox" });
  const values = () => ({ cue: cue.value.trim(), core: core.value.trim(), top: top.value, limit: limit.value, refit: refit.checked, subspace: subspace.checked });
  const form = h("form", { onsubmit: (event) => { event.preventDefault(); go("cue", values()); } },
    h("div", { class: "controls" }, field("Words of the cue", cue, "what should not decide the class"), field("Words of the class", core, "what should")),
    h("div", { class: "controls" }, field("Components to remove", top), field("Images of each split", limit), h("label", { class: "check" }, refit, "fit the head again"), h("label", { class: "check" }, subspace, "only what the words see"), h("button", { type: "submit", text: "Remove the cue" })));
  root.append(h("h1", { text: "Take a cue out" }),
    h("p", { class: "lead", text: `A linear head learns classes from images in which a cue mostly goes with the class. Components are ranked by the words of the cue against those of the class; the first are replaced by their mean. The group for which the cue misleads tells whether it helped. The head learns from, and is judged on, ${ctx.cue.images}.` }), form, status, place);

  async function update(params) {
    cue.value = params.get("cue") ?? ctx.cue.spurious;
    core.value = params.get("core") ?? ctx.cue.core;
    top.value = params.get("top") || Math.min(10, varying);
    limit.value = params.get("limit") || 400;
    refit.checked = params.has("refit");
    subspace.checked = params.has("subspace");
    if (!params.has("cue")) { place.replaceChildren(); return; }
    let result;
    try { result = await asker.ask("cue", { spurious: cue.value, core: core.value, top: Number(top.value), limit: Number(limit.value), refit: refit.checked, subspace: subspace.checked }); } catch { return; }
    const found = result.answer, row = (name) => found.summary.find((one) => one.representation === name);
    const [before, after, random] = ["before", "after", "random"].map(row);
    const named = (group) => (/^\d+$/.test(group) ? `group ${group}` : group);
    const bars = found.accuracy.flatMap((one) => [{ label: `${named(one.group)}, before`, value: one.before, text: percent(one.before), second: true }, { label: `${named(one.group)}, after`, value: one.after, text: percent(one.after) }]);
    fill(place,
      h("div", { class: "figures" }, [["worst group before", before.worst], ["worst group after", after.worst], ["with random components removed", random.worst], ["average after", after.average]].map(([label, [mean, spread]]) => h("div", { class: "figure" }, h("span", { class: "big", text: percent(mean) }), h("span", { class: "hint", text: `${label} (± ${fixed(100 * spread, 1)})` })))),
      h("h2", { text: "Every group, before and after" }), h("p", { class: "hint", text: `Accuracy on ${count(found.images.test)} test images; mean over ${3} heads, each learned from ${count(found.images.train)} training images.` }),
      h("ul", { class: "bars pairs" }, bars.map((bar) => h("li", {}, h("span", { class: "label", text: bar.label }), h("span", { class: bar.second ? "track before" : "track", "aria-hidden": "true" }, h("span", { style: { width: `${100 * bar.value}%` } })), h("span", { class: "value", text: bar.text })))),
      h("h2", { text: "What was removed" }), h("ol", { class: "ranking short" }, found.components.map((one) => h("li", {}, h("a", { href: link("component", { component: one.component }), text: ctx.short[one.component] ?? one.component }), h("span", { class: "value", text: fixed(one.score) })))),
      h("div", { class: "action-line" }, h("a", { class: "button", href: `/api/cues/${encodeURIComponent(found.download)}`, download: "without-cue.safetensors", text: "Download the model without the cue" })),
      reproduce({ ...result, stem: "cue", figure: () => barFigure(`${ctx.model} without “${cue.value}”`, "accuracy of every group", bars), table: () => ({ columns: ["group", "before", "after"], rows: found.accuracy.map((one) => [one.group, one.before, one.after]) }) }));
  }
  return { update, leave: () => asker.drop() };
}
