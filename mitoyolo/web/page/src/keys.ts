/** What keys do, as one table: it is obeyed, and it is the help. */

import { h } from "./dom";

export interface Key { keys: string[]; text: string; run(event: KeyboardEvent): void; shown?: string }

const STORED = "single-keys";
/** What takes letters itself; a slider or a box that was used last does not. */
const WRITTEN_IN = "input:not([type=range], [type=checkbox]), select, textarea, dialog";
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
    if (target.closest(WRITTEN_IN)) return;
    const name = named(event);
    if (target.matches("[type=range]") && /Arrow|Page|Home|End/.test(name)) return;
    if (name.length === 1 && name !== "?" && !single_keys()) return;
    if ((name === "Enter" || name === " ") && target.closest("button, a, summary, input")) return;
    const key = by_name.get(name);
    if (!key) return;
    event.preventDefault();
    key.run(event);
  }, { signal });
}

/** The four arrows as one line of the table, with what is held, such as `shift+`. */
export function arrows(text: string, held: string, run: (dx: number, dy: number) => void): Key[] {
  const shown = `${held && `${held[0]?.toUpperCase()}${held.slice(1, -1)} `}←↑→↓`;
  return ([["ArrowLeft", -1, 0], ["ArrowRight", 1, 0], ["ArrowUp", 0, -1], ["ArrowDown", 0, 1]] as const)
    .map(([key, dx, dy], i) => ({ keys: [`${held}${key}`], text: i ? "" : text, run: () => run(dx, dy), shown }));
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
