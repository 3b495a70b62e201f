/** Two readers on one batch: how far they agree, and where they do not. */

import { get, query, type Element, type Marks, type OpenBatch } from "../api";
import { button, h, plural, put } from "../dom";
import { Editor } from "../editor";
import { shape_of } from "../ellipse";
import { batch_name } from "./parts";
import type { Here } from "./view";

interface Pair { a: Element; b: Element; distance_um: number; labels: [string, string] }
interface Agreement {
  radius_um: number; compared: number; matched: number; only_a: number; only_b: number; label_differs: number; kappa: number | null; f_measure: number | null;
  tiles: { tile_id: number; pairs: Pair[]; only_a: Element[]; only_b: Element[] }[];
}
interface Difference { tile_id: number; of: Element; text: string }

export async function agreement({ parts, query: asked, signal }: Here): Promise<Node> {
  const id = parts[1];
  const [a, b] = [asked.get("a") ?? "", asked.get("b") ?? ""];
  const [batch, found] = await Promise.all([
    get<OpenBatch>(`/batches/${id}`, signal),
    get<Agreement>(query(`/batches/${id}/agreement`, { a, b }), signal),
  ]);
  const differences = found.tiles.flatMap((tile): Difference[] => [
    ...tile.pairs.filter((pair) => pair.labels[0] !== pair.labels[1]).map((pair) => ({
      tile_id: tile.tile_id, of: pair.a, text: `${a}: ${pair.labels[0]}, ${b}: ${pair.labels[1]}`,
    })),
    ...tile.only_a.map((of) => ({ tile_id: tile.tile_id, of, text: `only ${a}, ${of.label.value}` })),
    ...tile.only_b.map((of) => ({ tile_id: tile.tile_id, of, text: `only ${b}, ${of.label.value}` })),
  ]);

  const editor = new Editor({ changed: () => undefined, chosen: () => undefined }, signal);
  editor.read_only = true;
  const title = h("h2", {});
  const marks_of = (tile: number, reader: string): Promise<Marks> =>
    get<Marks>(query(`/tiles/${tile}/annotations`, { reader }), signal);
  const buttons = differences.map((difference, i) => {
    const tile = batch.tiles.find((one) => one.id === difference.tile_id);
    return button(`${tile ? `${tile.column}_${tile.row}` : difference.tile_id}: ${difference.text}`, () => show(i), { class: "item" });
  });

  async function show(i: number): Promise<void> {
    const difference = differences[i];
    const tile = batch.tiles.find((one) => one.id === difference?.tile_id);
    if (!difference || !tile) return;
    const [of_a, of_b] = await Promise.all([marks_of(tile.id, a), marks_of(tile.id, b)]);
    editor.clear_beside();
    editor.show(tile, []);
    editor.beside([difference.of], "pointed");
    editor.beside(of_a.elements, "reader-a");
    editor.beside(of_b.elements, "reader-b");
    editor.look(shape_of(difference.of));
    put(title, `Tile ${tile.column}_${tile.row}: ${difference.text}`);
    buttons.forEach((one, k) => one.setAttribute("aria-pressed", String(k === i)));
  }

  if (differences.length) await show(0);
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
      h("h2", {}, plural(differences.length, "disagreement")),
      h("ol", { class: "list" }, ...buttons.map((one) => h("li", {}, one)))),
    h("section", { class: "desk", "aria-label": "Tile" },
      title,
      h("p", { class: "legend" }, h("span", { class: "key-a" }, `${a}: solid`), h("span", { class: "key-b" }, `${b}: dotted`)),
      editor.node));
}
