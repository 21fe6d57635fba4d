// Requests to the service: asked, followed while they are worked on, cancelled when nobody waits any more.

import { h } from "./dom.js";

async function answered(response) {
  const told = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(told.error || `the service answered ${response.status}: reload the page`);
  return told;
}

const unreachable = () => new Error("the service does not answer: is `vitdecomp app` still running?");
const request = (...args) => fetch(...args).catch(() => { throw unreachable(); }).then(answered);

export const session = () => request("/api/session");
export const upload = (file) =>
  request(`/api/uploads?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file });

const cancel = (id) => fetch(`/api/jobs/${id}`, { method: "DELETE" }).catch(() => {});

export class Cancelled extends Error {}

// A place for answers of one kind: a new question takes the place of the one before it.
export class Asker {
  constructor(status) {
    this.status = status;
    this.turn = 0;
    this.job = null;
  }

  async ask(view, body) {
    const turn = (this.turn += 1);
    this.drop();
    this.show({ stage: "asking", done: 0, total: 0 }, true);
    try {
      let job = await request(`/api/ask/${view}`, {
        method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
      });
      while (job.state === "waiting" || job.state === "running") {
        if (turn !== this.turn) { cancel(job.id); throw new Cancelled(); }
        this.job = job.id;
        this.show(job, false);
        job = await request(`/api/jobs/${job.id}?wait=0.7`);
      }
      if (turn !== this.turn || job.state === "cancelled") throw new Cancelled();
      this.job = null;
      this.status.replaceChildren();
      if (job.state === "failed") throw new Error(job.error);
      return job.result;
    } catch (error) {
      if (turn === this.turn) {
        this.job = null;
        const quiet = error instanceof Cancelled;
        this.status.replaceChildren(h("p", { class: quiet ? "hint" : "error", role: quiet ? "status" : "alert", text: quiet ? "Cancelled." : error.message }));
      }
      throw error instanceof Cancelled ? error : Object.assign(new Cancelled(), { shown: error.message });
    }
  }

  drop() {
    if (this.job) cancel(this.job);
    this.job = null;
  }

  show(job, first) {
    const bar = h("progress", { "aria-label": job.stage || "working" });
    if (job.total) Object.assign(bar, { max: job.total, value: job.done });
    const told = job.state === "waiting" ? "waiting for its turn" : job.stage || "working";
    const stop = h("button", { type: "button", class: "quiet", text: "Cancel", onclick: () => this.drop() });
    this.status.replaceChildren(
      h("div", { class: first ? "working first" : "working" }, bar, h("span", { role: "status", text: `${told}${job.total ? ` ${job.done} of ${job.total}` : "…"}` }), first ? null : stop),
    );
  }
}
