/** Small pieces that several views show. */

import type { Batch, Stage } from "../api";
import { h } from "../dom";

const STAGES: Record<Stage, string> = {
  assigned: "to do", submitted: "submitted", approved: "approved", returned: "returned",
};

export function stage(of: Stage): HTMLElement {
  return h("span", { class: `stage ${of}` }, STAGES[of]);
}

export function progress(done: number, of: number): HTMLElement {
  return h("span", { class: "progress" },
    h("progress", { value: done, max: Math.max(1, of), "aria-label": "Tiles done" }),
    h("span", {}, `${done} of ${of}`));
}

export function batch_name(batch: Pick<Batch, "slide" | "number">): string {
  return `${batch.slide.name}, batch ${batch.number}`;
}

export function table(heads: string[], rows: (Node | string | number)[][], caption: string): HTMLElement {
  return h("div", { class: "scroll" }, h("table", {},
    h("caption", {}, caption),
    h("thead", {}, h("tr", {}, ...heads.map((head) => h("th", { scope: "col" }, head)))),
    h("tbody", {}, ...rows.map((row) => h("tr", {}, ...row.map((cell) => h("td", {}, cell)))))));
}
