/** Two readers on one batch: how far they agree, where they do not, and what they say together. */

import { get, query, type Element, type OpenBatch } from "../api";
import { button, h, plural, put } from "../dom";
import { Editor } from "../editor";
import { shape_of } from "../ellipse";
import { batch_name } from "./parts";
import type { Here } from "./view";

interface Pair { a: Element; b: Element; distance_um: number; labels: [string, string] }
interface Compared { tile_id: number; pairs: Pair[]; only_a: Element[]; only_b: Element[] }
interface Agreement {
  radius_um: number; compared: number; matched: number; only_a: number; only_b: number; label_differs: number; kappa: number | null; f_measure: number | null;
  tiles: Compared[];
  consensus: Record<number, Element[]>;
}
/** A cell of a list, and what is drawn on its tile when it is chosen. */
interface Cell { tile_id: number; of: Element; text: string; legend: string; drawn: [Element[], kind: string][] }

export async function agreement({ parts, query: asked, signal }: Here): Promise<Node> {
  const id = parts[1];
  const [a, b] = [asked.get("a") ?? "", asked.get("b") ?? ""];
  const [batch, found] = await Promise.all([
    get<OpenBatch>(`/batches/${id}`, signal),
    get<Agreement>(query(`/batches/${id}/agreement`, { a, b }), signal),
  ]);

  function disagreements({ tile_id, pairs, only_a, only_b }: Compared): Cell[] {
    const drawn: Cell["drawn"] = [
      [[...pairs.map((pair) => pair.a), ...only_a], "reader-a"], [[...pairs.map((pair) => pair.b), ...only_b], "reader-b"],
    ];
    const cell = (of: Element, text: string): Cell => ({ tile_id, of, text, legend: `${a}: solid · ${b}: dotted`, drawn });
    return [
      ...pairs.filter(({ labels }) => labels[0] !== labels[1])
        .map((pair) => cell(pair.a, `${a}: ${pair.labels[0]}, ${b}: ${pair.labels[1]}`)),
      ...only_a.map((of) => cell(of, `only ${a}, ${of.label.value}`)),
      ...only_b.map((of) => cell(of, `only ${b}, ${of.label.value}`)),
    ];
  }
  const differing = found.tiles.flatMap(disagreements);
  const together = found.tiles.flatMap(({ tile_id }) => {
    const agreed = found.consensus[tile_id] ?? [];
    return agreed.map((of): Cell => ({ tile_id, of, text: of.label.value, legend: `${a} and ${b} together`, drawn: [[agreed, ""]] }));
  });
  const mitoses = together.filter(({ of }) => of.label.value === "mitosis").length;

  const editor = new Editor({ changed: () => undefined, chosen: () => undefined }, signal);
  editor.read_only = true;
  const title = h("h2", {});
  const legend = h("p", { class: "legend" });
  const tile_of = (cell: Cell): OpenBatch["tiles"][number] | undefined => batch.tiles.find((tile) => tile.id === cell.tile_id);
  const named = (cell: Cell): string => {
    const tile = tile_of(cell);
    return `${tile ? `${tile.column}_${tile.row}` : cell.tile_id}: ${cell.text}`;
  };
  const buttons = new Map([...differing, ...together].map((cell) =>
    [cell, button(named(cell), () => show(cell), { class: "item" })]));
  const list = (cells: Cell[]): HTMLElement => h("ol", { class: "list" }, ...cells.map((cell) => h("li", {}, buttons.get(cell))));

  function show(cell: Cell): void {
    const tile = tile_of(cell);
    if (!tile) return;
    editor.clear_beside();
    editor.show(tile, []);
    editor.beside([cell.of], "pointed");
    for (const [elements, kind] of cell.drawn) editor.beside(elements, kind);
    editor.look(shape_of(cell.of));
    put(title, `Tile ${named(cell)}`);
    put(legend, cell.legend);
    for (const [one, item] of buttons) item.setAttribute("aria-pressed", String(one === cell));
  }

  const first = differing[0] ?? together[0];
  if (first) show(first);
  else put(title, found.compared ? "Neither has marked a cell" : "There is no tile that both have read");
  const fact = (name: string, value: string | number): HTMLElement => h("div", {}, h("dt", {}, name), h("dd", {}, value));
  return h("div", { class: "workplace" },
    h("div", { class: "batch-head" }, h("h1", {}, `Agreement on ${batch_name(batch)}`),
      h("a", { class: "button", href: query(`#/batch/${id}`, { reader: a }) }, `Marks of ${a}`),
      h("a", { class: "button", href: query(`#/batch/${id}`, { reader: b }) }, `Marks of ${b}`)),
    h("aside", {},
      h("dl", { class: "figures" },
        fact("Matched", found.matched), fact(`Only ${a}`, found.only_a), fact(`Only ${b}`, found.only_b),
        fact("Label differs", found.label_differs), fact("Tiles both read", found.compared),
        fact("Kappa", found.kappa?.toFixed(3) ?? "none"), fact("F1 of mitoses", found.f_measure?.toFixed(3) ?? "none"),
        fact("Within", `${found.radius_um} µm`)),
      h("h2", {}, plural(differing.length, "disagreement")),
      list(differing),
      h("h2", {}, `Together: mitosis ${mitoses}, imposter ${together.length - mitoses}`),
      h("p", { class: "facts" }, "The consensus of these two: a mitosis where both say so, else an imposter."),
      list(together)),
    h("section", { class: "desk", "aria-label": "Tile" }, title, legend, editor.node));
}
