/** Every change, by whom and when, newest first. */

import { get, query, type AuditRow } from "../api";
import { button, h, moment, notify, put } from "../dom";
import { table } from "./parts";
import type { Here } from "./view";

const PAGE = 100;

export async function audit({ signal }: Here): Promise<Node> {
  const rows: AuditRow[] = [];
  const list = h("div");
  const more = button("Older", load);
  async function load(): Promise<void> {
    const before = rows.at(-1)?.id;
    const found = await get<AuditRow[]>(query("/audit", { before: before?.toString(), limit: String(PAGE) }), signal);
    rows.push(...found);
    more.hidden = found.length < PAGE;
    if (!found.length && before) notify("That was all");
    put(list, table(["When", "Who", "What", "Of", "Detail"], rows.map((row) => [
      moment(row.at), typeof row.user === "string" ? row.user : row.user?.name ?? "", row.action, row.subject,
      h("code", {}, Object.keys(row.detail ?? {}).length ? JSON.stringify(row.detail) : ""),
    ]), "Every change, newest first"));
  }
  await load();
  return h("section", {}, h("h1", {}, "Audit"), list, more);
}
