// Figures for papers: SVG made of what is shown, PNG made of the SVG, CSV of its numbers.

import { s } from "./dom.js";

const FONT = "system-ui, sans-serif", INK = "#1b1f23", QUIET = "#5c646c", ACCENT = [15, 107, 99], SECOND = [168, 72, 12];
const cut = (text, n) => (String(text).length > n ? `${String(text).slice(0, n - 1)}…` : String(text));
const label = (x, y, text, size = 12, fill = INK, anchor = "start", weight = 400) =>
  s("text", { x, y, "font-family": FONT, "font-size": size, fill, "text-anchor": anchor, "font-weight": weight }, String(text));

function shade(value, low, high) {
  const largest = low < 0 ? Math.max(-low, high) : high;
  const share = largest ? Math.min(1, Math.abs(value) / largest) ** 0.8 : 0;
  const ink = value < 0 ? SECOND : ACCENT;
  return `rgb(${ink.map((c) => Math.round(255 - share * (255 - c))).join(",")})`;
}

function page(width, height, title, subtitle, ...children) {
  return s("svg", { xmlns: "http://www.w3.org/2000/svg", width, height, viewBox: `0 0 ${width} ${height}` },
    s("rect", { width, height, fill: "#ffffff" }), label(20, 34, cut(title, width / 9), 17, INK, "start", 600), label(20, 54, cut(subtitle, width / 6.2), 11, QUIET), ...children);
}

export function gridFigure(ctx, title, subtitle, values) {
  const { columns, rows } = ctx.layout, size = 26, left = 130, top = 92;
  const known = Object.values(values), low = Math.min(0, ...known), high = Math.max(0, ...known);
  const parts = columns.map((name, i) => label(left + i * size + size / 2, top - 8, name, 10, QUIET, "middle"));
  rows.forEach((row, y) => {
    parts.push(label(left - 10, top + y * size + 17, cut(row.short, 18), 11, INK, "end"));
    for (const [x, component] of Object.entries(row.cells)) {
      const value = values[component.name];
      const cell = s("rect", { x: left + x * size + 1, y: top + y * size + 1, width: size - 2, height: size - 2, rx: 3, fill: value === undefined ? "#f3f4f1" : shade(value, low, high), stroke: "#dfe2e1" });
      cell.append(s("title", {}, `${component.name}: ${value ?? "none"}`));
      parts.push(cell);
    }
  });
  return page(Math.max(460, left + columns.length * size + 20), top + rows.length * size + 24, title, subtitle, ...parts);
}

export async function sheetFigure(title, subtitle, sections) {
  const side = 112, gap = 14, across = 6, parts = [];
  let y = 84;
  for (const section of sections) {
    parts.push(label(20, y, cut(section.title, 90), 13, INK, "start", 600));
    y += 14;
    for (const [i, item] of section.items.entries()) {
      const x = 20 + (i % across) * (side + gap), line = y + Math.floor(i / across) * (side + 36);
      const uri = item.src ? await embedded(item.src) : null;
      parts.push(s("rect", { x, y: line, width: side, height: side, fill: "#f3f4f1" }));
      if (uri) parts.push(s("image", { x, y: line, width: side, height: side, href: uri, preserveAspectRatio: "xMidYMid meet" }));
      parts.push(label(x, line + side + 14, cut(item.label, 18), 11, INK));
    }
    y += Math.max(1, Math.ceil(section.items.length / across)) * (side + 36) + 22;
  }
  return page(20 + across * (side + gap) + 6, y, title, subtitle, ...parts);
}

export function barFigure(title, subtitle, bars) {
  const left = 250, width = 380, line = 24, largest = Math.max(1e-9, ...bars.map((bar) => Math.abs(bar.value))), least = Math.min(0, ...bars.map((bar) => bar.value));
  const zero = left + (least < 0 ? (width * -least) / (largest - least) : 0), scale = width / (largest - Math.min(0, least));
  const parts = bars.flatMap((bar, i) => {
    const y = 76 + i * line, length = Math.abs(bar.value) * scale;
    return [label(left - 12, y + 14, cut(bar.label, 34), 11, INK, "end"), s("rect", { x: bar.value < 0 ? zero - length : zero, y: y + 3, width: length, height: line - 8, rx: 2, fill: bar.second || bar.value < 0 ? "#a8480c" : "#0f6b63" }), label(left + width + 12, y + 14, bar.text, 11, QUIET)];
  });
  return page(left + width + 90, 96 + bars.length * line, title, subtitle, ...parts);
}

async function embedded(src) {
  if (src.startsWith("data:")) return src;
  const response = await fetch(src);
  if (!response.ok) return null;
  const blob = await response.blob();
  return new Promise((resolve) => { const reader = new FileReader(); reader.onload = () => resolve(reader.result); reader.readAsDataURL(blob); });
}

export const svgText = (svg) => new XMLSerializer().serializeToString(svg);

export async function pngBlob(svg, scale = 2) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svgText(svg))}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = scale * Number(svg.getAttribute("width"));
  canvas.height = scale * Number(svg.getAttribute("height"));
  const pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

// A text that a spreadsheet would take for a formula gets an apostrophe in front.
function csvCell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export const csvText = ({ columns, rows }) => [columns, ...rows].map((row) => row.map(csvCell).join(",")).join("\r\n") + "\r\n";

export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
