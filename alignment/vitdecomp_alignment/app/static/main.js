// The page: one view at a time, restored from the address.

import { count, h } from "./dom.js";
import { session } from "./api.js";
import { layoutOf } from "./grid.js";
import { link, read } from "./state.js";
import { mount as model } from "./view_model.js";
import { mount as component } from "./view_component.js";
import { mount as search } from "./view_search.js";
import { mount as image } from "./view_image.js";
import { mount as cue } from "./view_cue.js";

const VIEWS = { model, component, search, image, cue };
const TITLES = { model: "Model", component: "Component", search: "Search", image: "Image", cue: "Cue" };
const main = document.getElementById("main");
let ctx = null, shown = null;

function route() {
  const { view, params } = read();
  const name = view in VIEWS ? view : "model";
  if (view === "main") return main.focus();
  for (const entry of document.querySelectorAll("#views a")) {
    if (entry.dataset.view === name) entry.setAttribute("aria-current", "page");
    else entry.removeAttribute("aria-current");
  }
  if (shown?.name !== name) {
    shown?.leave?.();
    const root = h("div", { class: "view" }); // with its listeners it goes when the next view comes
    main.replaceChildren(root);
    shown = { name, ...VIEWS[name](root, ctx) };
    window.scrollTo(0, 0);
  }
  document.title = `${TITLES[name]} · ${ctx.model} · vitdecomp`;
  return shown.update(params);
}

async function start() {
  try {
    ctx = await session();
  } catch (error) {
    main.replaceChildren(h("p", { class: "error", role: "alert", text: error.message }));
    return;
  }
  ctx.layout = layoutOf(ctx.components);
  ctx.short = Object.fromEntries(ctx.layout.rows.flatMap((row) => Object.values(row.cells).map((c) => [c.name, `${row.short}${c.name.slice(row.block.length)}`])));
  const parts = [ctx.model, ctx.maps ? `in words of ${ctx.clip}` : null, `${count(ctx.images)} ${ctx.world ? "scenes of the embedded world" : "images"}`, `${ctx.components.length} components`];
  document.getElementById("subject").textContent = parts.filter(Boolean).join(" · ");
  document.getElementById("views").append(...Object.keys(VIEWS).map((name) => h("li", {}, h("a", { href: link(name), "data-view": name, text: TITLES[name] }))));
  window.addEventListener("hashchange", route);
  route();
}

start();
