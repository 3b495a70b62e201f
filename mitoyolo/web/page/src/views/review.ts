/** What readers have handed in, and what is still with them. */

import { get, type Batch, type Stage } from "../api";
import { h } from "../dom";
import { batch_name, progress, stage, table } from "./parts";
import type { Here } from "./view";

const ORDER: Stage[] = ["submitted", "returned", "assigned", "approved"];

export async function review({ signal }: Here): Promise<Node> {
  const batches = await get<Batch[]>("/batches", signal);
  const all = batches.flatMap((batch) => batch.assignments.map((assignment) => ({ batch, assignment })));
  all.sort((a, b) => ORDER.indexOf(a.assignment.stage) - ORDER.indexOf(b.assignment.stage));
  const rows = all.map(({ batch, assignment: { user, stage: at, done, marks } }) => {
    const others = batch.assignments.filter((one) => one.user.id !== user.id);
    return [
      h("a", { href: `#/batch/${batch.id}?reader=${encodeURIComponent(user.name)}` }, batch_name(batch)),
      user.name, stage(at), progress(done, batch.tiles), marks,
      h("span", { class: "row" }, ...others.map((other) => h("a", { href: agreement_of(batch.id, user.name, other.user.name) },
        `with ${other.user.name}`))),
    ];
  });
  return h("section", {}, h("h1", {}, "Review"),
    rows.length
      ? table(["Batch", "Reader", "Stage", "Tiles done", "Marks", "Agreement"], rows, "Batches by reader, what waits for review first")
      : h("p", { class: "empty" }, "No batch is assigned yet."));
}

export function agreement_of(batch: number, a: string, b: string): string {
  return `#/agreement/${batch}?${new URLSearchParams({ a, b })}`;
}
