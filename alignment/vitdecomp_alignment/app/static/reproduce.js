// Below every view: its link, what reproduces it outside of the page, and downloads.

import { h, toast } from "./dom.js";
import { csvText, pngBlob, save, svgText } from "./figure.js";

async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { class: "offscreen", "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  toast(`${what} copied`);
}

const button = (text, onclick) => h("button", { type: "button", class: "quiet", text, onclick });

// `figure` makes an SVG, perhaps later; `table` the numbers; `stem` names files.
export function reproduce({ command, python, figure, table, stem }) {
  const made = async (use) => { try { use(await figure()); } catch (error) { toast(`No figure: ${error.message}`); } };
  const files = [
    figure && button("PNG", () => made(async (svg) => save(await pngBlob(svg), `${stem}.png`))),
    figure && button("SVG", () => made((svg) => save(new Blob([svgText(svg)], { type: "image/svg+xml" }), `${stem}.svg`))),
    table && button("CSV", () => save(new Blob([csvText(table())], { type: "text/csv" }), `${stem}.csv`)),
  ].filter(Boolean);
  return h("section", { class: "reproduce", "aria-label": "Reproduce" },
    h("div", { class: "actions" },
      h("div", { class: "group" }, button("Copy link", () => copy(location.href, "Link")), command && button("Copy as command", () => copy(command, "Command")), python && button("Copy as Python", () => copy(python, "Python"))),
      files.length > 0 && h("div", { class: "group" }, h("span", { class: "hint", text: "Download" }), files)),
    h("details", {}, h("summary", { text: "Show the command and the code" }),
      command && h("pre", { tabindex: 0, "aria-label": "command" }, h("code", { class: "command", text: command })), python && h("pre", { tabindex: 0, "aria-label": "Python" }, h("code", { class: "python", text: python }))));
}
