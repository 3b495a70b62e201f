/** What keys do, as one table: it is obeyed, and it is the help. */

import { h } from "./dom";

export interface Key { keys: string[]; text: string; run(event: KeyboardEvent): void; shown?: string }

const STORED = "single-keys";
export const single_keys = (): boolean => localStorage.getItem(STORED) !== "off";

/** The name of a key with what is held: `ctrl+z`, `shift+n`, `alt+ArrowLeft`. */
function named(event: KeyboardEvent): string {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const shift = event.shiftKey && (event.key.length > 1 || /[a-z]/i.test(event.key));
  return [(event.ctrlKey || event.metaKey) && "ctrl", event.altKey && "alt", shift && "shift", key].filter(Boolean).join("+");
}

export function listen(table: Key[], signal: AbortSignal): void {
  const by_name = new Map(table.flatMap((key) => key.keys.map((name) => [name, key] as const)));
  window.addEventListener("keydown", (event) => {
    const target = event.target as HTMLElement;
    if (target.closest("input, select, textarea, dialog")) return;
    const name = named(event);
    if (name.length === 1 && name !== "?" && !single_keys()) return;
    if ((name === "Enter" || name === " ") && target.closest("button, a, summary")) return;
    const key = by_name.get(name);
    if (!key) return;
    event.preventDefault();
    key.run(event);
  }, { signal });
}

/** The table for people to read. */
export function help(table: Key[]): void {
  const onchange = (event: Event): void =>
    localStorage.setItem(STORED, (event.target as HTMLInputElement).checked ? "on" : "off");
  const dialog = h("dialog", { class: "help", "aria-labelledby": "help-title" },
    h("h2", { id: "help-title" }, "Keys"),
    h("dl", {}, ...table.filter((key) => key.text).map((key) => h("div", {}, h("dt", {}, ...shown(key)), h("dd", {}, key.text)))),
    h("label", { class: "check" }, h("input", { type: "checkbox", checked: single_keys(), onchange }),
      "Single letters act at once"),
    h("form", { method: "dialog" }, h("button", { class: "primary" }, "Close")));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

function shown(key: Key): (Node | string)[] {
  return (key.shown ?? key.keys[0] ?? "").split(" ").map((name) => h("kbd", {}, name));
}
