// What is shown stands in the address, after the `#`: every view has a link that restores it.

export function read() {
  const [view, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { view: view || "model", params: new URLSearchParams(query) };
}

export function link(view, values = {}) {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "" && one !== false) params.append(name, one === true ? "1" : one);
    }
  }
  const query = params.toString();
  return `#/${view}${query ? `?${query}` : ""}`;
}

export const go = (view, values) => { location.hash = link(view, values); };
