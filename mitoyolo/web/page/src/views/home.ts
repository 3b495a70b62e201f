/** The batches that one reads. */

import { get, type Batch } from "../api";
import { h, plural } from "../dom";
import { batch_name, progress, stage } from "./parts";
import type { Here } from "./view";

export async function home({ me, signal }: Here): Promise<Node> {
  const batches = await get<Batch[]>("/batches", signal);
  const mine = batches.flatMap((batch) =>
    batch.assignments.filter((one) => one.user.id === me.id).map((assignment) => ({ batch, assignment })));
  return h("section", {},
    h("h1", {}, "My batches"),
    mine.length
      ? h("ul", { class: "cards" }, ...mine.map(({ batch, assignment }) => h("li", { class: "card" },
        h("h2", {}, h("a", { class: "whole", href: `#/batch/${batch.id}` }, batch_name(batch))),
        h("p", { class: "facts" }, stage(assignment.stage), plural(assignment.marks, "mark")),
        progress(assignment.done, batch.tiles),
        assignment.stage === "returned" && assignment.note && h("p", { class: "note" }, assignment.note))))
      : h("p", { class: "empty" }, me.role === "admin"
        ? "None is assigned to you. Under Slides you upload a slide and assign its batches, to yourself too."
        : "None is assigned to you yet. An admin assigns them."));
}
