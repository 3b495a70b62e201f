/** A batch: its tiles at the left, one of them large beside, marked and saved; its review by an admin. */

import { get, query, send, type Batch, type Label, type Marks, type OpenBatch, type Slide, type Tile } from "../api";
import { ask, button, h, moment, notify, options, plural, put, text_of } from "../dom";
import { Editor, type Tool } from "../editor";
import { arrows, help, listen, type Key } from "../keys";
import { guard_with } from "../router";
import { Saver, type Saving } from "../saver";
import { batch_name, stage } from "./parts";
import { agreement_of } from "./review";
import type { Here } from "./view";

const TOOLS: { tool: Tool; text: string; key: string }[] = [
  { tool: "select", text: "Select", key: "v" },
  { tool: "ellipse", text: "Ellipse", key: "e" },
  { tool: "point", text: "Point", key: "p" },
  { tool: "rectangle", text: "Box", key: "b" },
];
const LABELS: { label: Label; text: string; key: string }[] = [
  { label: "mitosis", text: "Mitosis", key: "m" },
  { label: "imposter", text: "Imposter", key: "i" },
];

export async function batch(here: Here): Promise<Node> {
  const { me, signal } = here;
  const id = here.parts[1];
  const reader = here.query.get("reader") ?? undefined;
  const path = query(`/batches/${id}`, { reader });
  let opened = await get<OpenBatch>(path, signal);
  const slide = await get<Slide>(`/slides/${opened.slide.id}`, signal);
  const { tiles } = opened;
  const whose = reader ?? me.name;
  let open: { tile: Tile; saver: Saver } | null = null;

  const assignment = (): Batch["assignments"][number] | undefined =>
    opened.assignments.find((one) => one.user.name === whose);
  const may_change = (): boolean => {
    const at = assignment()?.stage;
    return me.role === "admin" || at === "assigned" || at === "returned";
  };

  // The tile, large

  const editor = new Editor({
    changed: () => { open?.saver.touch(); count(); },
    chosen: () => paint_tools(),
  }, signal);
  if (whose !== me.name || !may_change()) editor.tool = "select"; // another's marks are first looked at
  const said = h("span", { class: "saving", role: "status" });
  const conflict = h("div", { class: "clash", role: "alertdialog", "aria-label": "Saved by someone else", hidden: true });
  const title = h("h2", { class: "tile-name" });

  function state(saving: Saving, text: string): void {
    said.className = `saving ${saving}`;
    if (said.textContent !== text) put(said, text);
  }

  let asked: Tile | null = null;

  async function show(tile: Tile): Promise<void> {
    asked = tile;
    if (open?.tile === tile) return;
    const marks_path = query(`/tiles/${tile.id}/annotations`, { reader });
    const marks = await get<Marks>(marks_path, signal);
    // Last before the change, so that what was marked meanwhile is saved too.
    if (asked !== tile || !(await leave_tile()) || asked !== tile) return;
    open?.saver.close();
    const mine = (): { done: boolean; elements: Marks["elements"] } => ({ done: tile.done, elements: editor.current() });
    const saver = new Saver(marks_path, marks, mine, { state, conflict: offer });
    tile.done = marks.done;
    open = { tile, saver };
    editor.read_only = !may_change();
    editor.show(tile, marks.elements);
    conflict.hidden = true;
    state("saved", editor.read_only ? "Only to look at" : marks.saved_at ? `Saved by ${marks.saved_by} ${moment(marks.saved_at)}` : "");
    put(title, `Tile ${tile.column}_${tile.row}`, h("small", {}, ` ${tiles.indexOf(tile) + 1} of ${tiles.length}`));
    count();
    paint_grid();
    history.replaceState(null, "", query(`#/batch/${id}`, { reader, tile: String(tile.id) }));
  }

  function visit(tile: Tile): void {
    show(tile).catch((error: unknown) => notify(text_of(error), "bad"));
  }

  async function leave_tile(): Promise<boolean> {
    if (!open || (await open.saver.flush())) return true;
    return window.confirm("What you marked on this tile is not saved. Leave it, and lose that?");
  }

  function offer(theirs: Marks): void {
    const n = editor.current().length;
    const settle = async (choice: "mine" | "theirs"): Promise<void> => {
      if (!open) return;
      conflict.hidden = true;
      if (choice === "theirs") {
        open.tile.done = theirs.done;
        const { saver } = open;
        editor.replace(theirs.elements);
        count();
        await saver.settle("theirs");
      } else {
        await open.saver.settle("mine");
      }
      editor.node.querySelector<SVGElement>(".mark")?.focus();
    };
    put(conflict,
      h("h2", {}, "Someone else saved this tile while you had it open"),
      h("p", {}, `${theirs.saved_by ?? "Someone"} saved ${plural(theirs.elements.length, "mark")}`
        + `${theirs.saved_at ? ` at ${moment(theirs.saved_at)}` : ""}; you have ${plural(n, "mark")}, not saved yet. `
        + "Nothing is lost: theirs stays in the history on the server, yours in undo here."),
      h("p", { class: "row" },
        button("Show theirs", () => settle("theirs"), { class: "primary" }),
        button("Keep mine on top", () => settle("mine"))));
    conflict.hidden = false;
    conflict.querySelector("button")?.focus();
  }

  // Tools

  const opacity = h("input", {
    type: "range", min: 0, max: 100, value: localStorage.getItem("opacity") ?? "90", "aria-label": "Opacity of marks",
    oninput: () => { localStorage.setItem("opacity", opacity.value); dim(); },
  });
  function dim(): void {
    editor.node.style.setProperty("--opacity", String(Number(opacity.value) / 100));
  }
  function veil(): void {
    opacity.value = Number(opacity.value) > 0 ? "0" : localStorage.getItem("opacity") || "90";
    dim();
  }
  const tool_buttons = TOOLS.map(({ tool, text, key }) =>
    h("button", { type: "button", "data-tool": tool, title: `${text} (${key.toUpperCase()})`, onclick: () => editor.use(tool) }, text));
  const label_buttons = LABELS.map(({ label, text, key }) =>
    h("button", { type: "button", class: label, "data-label": label, title: `${text} (${key.toUpperCase()})`,
      onclick: () => editor.mark_as(label) }, text));
  const undo = button("Undo", () => editor.undo(), { title: "Undo (Ctrl+Z)" });
  const redo = button("Redo", () => editor.redo(), { title: "Redo (Ctrl+Y)" });
  const remove = button("Delete", () => editor.remove(), { title: "Delete the selected mark (Delete)" });
  const done = button("Done, next", finish, { class: "primary", title: "Done, and to the next tile (D)" });

  function paint_tools(): void {
    const chosen = editor.selection();
    for (const one of tool_buttons) {
      one.setAttribute("aria-pressed", String(one.dataset["tool"] === editor.tool));
      one.disabled = editor.read_only && one.dataset["tool"] !== "select";
    }
    for (const one of label_buttons) {
      one.setAttribute("aria-pressed", String(one.dataset["label"] === (chosen?.label.value ?? editor.label)));
      one.disabled = editor.read_only;
    }
    undo.disabled = !editor.can_undo;
    redo.disabled = !editor.can_redo;
    remove.disabled = !chosen || editor.read_only;
    done.disabled = editor.read_only;
    done.textContent = open?.tile.done ? "Not done" : "Done, next";
  }

  async function finish(): Promise<void> {
    if (!open || editor.read_only) return;
    const { tile, saver } = open;
    tile.done = !tile.done;
    saver.touch();
    count();
    if (!(await saver.flush()) || !tile.done) return;
    const at = tiles.indexOf(tile);
    const next = [...tiles.slice(at + 1), ...tiles.slice(0, at)].find((one) => !one.done);
    if (next) visit(next);
    else notify(may_submit() ? "Every tile is done: you may submit the batch" : "Every tile is done");
  }

  function step(by: 1 | -1): void {
    const at = open ? tiles.indexOf(open.tile) : -1;
    const next = tiles[at + by];
    if (next) visit(next);
    else notify(by > 0 ? "This is the last tile" : "This is the first tile");
  }

  // The grid of tiles

  const grid = h("ol", { class: "grid", "aria-label": "Tiles" });
  const cells = new Map(tiles.map((tile) => {
    const counts = h("span", { class: "counts" });
    const cell = h("button", { type: "button", class: "thumb", onclick: () => visit(tile) },
      h("img", { src: `/api/tiles/${tile.id}/thumbnail`, alt: "", loading: "lazy", width: 128, height: 128 }), counts);
    grid.append(h("li", {}, cell));
    return [tile, { cell, counts }] as const;
  }));

  function count(): void {
    if (open) {
      const counts: Tile["counts"] = {};
      for (const { label } of editor.current()) counts[label.value] = (counts[label.value] ?? 0) + 1;
      open.tile.counts = counts;
      paint_cell(open.tile);
    }
    paint_head();
    paint_tools();
  }

  function paint_cell(tile: Tile): void {
    const { cell, counts } = cells.get(tile) ?? {};
    if (!cell || !counts) return;
    const [mitoses, imposters] = [tile.counts.mitosis ?? 0, tile.counts.imposter ?? 0];
    put(counts, mitoses > 0 && h("b", { class: "mitosis" }, mitoses), imposters > 0 && h("b", { class: "imposter" }, imposters),
      tile.done && h("b", { class: "tick" }, "✓"));
    cell.setAttribute("aria-label", `Tile ${tile.column}_${tile.row}: ${mitoses} mitosis, ${imposters} imposter${tile.done ? ", done" : ""}`);
  }

  function paint_grid(): void {
    for (const [tile, { cell }] of cells) {
      if (tile === open?.tile) cell.setAttribute("aria-current", "true");
      else cell.removeAttribute("aria-current");
    }
    const shown = open && cells.get(open.tile)?.cell;
    shown?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  // The batch as a whole

  const top = h("div", { class: "batch-head" });

  function may_submit(): boolean {
    const own = assignment();
    return own?.user.id === me.id && (own.stage === "assigned" || own.stage === "returned");
  }

  async function move_on(what: "submit" | "approve" | "return", body: object, said_then: string): Promise<void> {
    const own = assignment();
    if (!own || !(await leave_tile())) return;
    await send("POST", `/assignments/${own.id}/${what}`, body);
    opened = { ...(await get<OpenBatch>(path, signal)), tiles };
    editor.read_only = !may_change();
    editor.use("select");
    if (editor.read_only) state("saved", "Only to look at");
    count();
    notify(said_then);
  }

  function submit(): Promise<void> | void {
    const left = tiles.filter((tile) => !tile.done);
    const unread = left.filter(({ counts }) => !counts.mitosis && !counts.imposter).length;
    const warning = `Of ${plural(tiles.length, "tile")} ${left.length} not marked done. `
      + `${unread ? `${unread} of them without any mark: unread, so that no download has them. ` : ""}Submit anyway?`;
    if (left.length && !window.confirm(warning)) return;
    return move_on("submit", {}, "Submitted. An admin reviews it now.");
  }

  function give_back(): Promise<void> | void {
    const note = ask("What should the reader look at again?");
    return note === null ? undefined : move_on("return", { note }, `Returned to ${whose}`);
  }

  function paint_head(): void {
    const own = assignment();
    const finished = tiles.filter((tile) => tile.done).length;
    const admin = me.role === "admin";
    const others = opened.assignments.filter((one) => one.user.name !== whose);
    put(top,
      h("h1", {}, batch_name(opened)),
      admin && h("label", { class: "inline" }, "Reader", h("select", { onchange: choose_reader },
        ...options([...new Set([me.name, ...opened.assignments.map((one) => one.user.name)])]
          .map((name) => [name, name]), whose))),
      own && stage(own.stage),
      h("span", { class: "facts" }, `${finished} of ${tiles.length} done`),
      own?.note && own.stage === "returned" && h("span", { class: "note" }, own.note),
      h("span", { class: "row end" },
        slide.kind === "slide" && h("a", { class: "button", href: `#/slide/${slide.id}` }, "Whole slide"),
        ...(admin && own ? others : []).map((other) =>
          h("a", { class: "button", href: agreement_of(opened.id, whose, other.user.name) }, `Agreement with ${other.user.name}`)),
        admin && (own?.stage === "submitted" || own?.stage === "approved") && button("Return", give_back),
        admin && own?.stage === "submitted" && button("Approve", () => move_on("approve", {}, "Approved"), { class: "primary" }),
        may_submit() && button("Submit", submit, { class: finished === tiles.length ? "primary" : "" })));
  }

  function choose_reader(event: Event): void {
    const select = event.target as HTMLSelectElement;
    location.hash = query(`/batch/${id}`, { reader: select.value === me.name ? undefined : select.value });
    select.value = whose; // until that view is there, which may be refused
  }

  // Keys

  const TURN = Math.PI / 36;
  const keys: Key[] = [
    { keys: ["n", "PageDown"], text: "Next tile", run: () => step(1), shown: "N" },
    { keys: ["shift+n", "PageUp"], text: "Previous tile", run: () => step(-1), shown: "Shift N" },
    { keys: ["d"], text: "Done, and to the next tile that is not", run: () => void finish(), shown: "D" },
    ...TOOLS.map(({ tool, text, key }) => ({ keys: [key], text: `Tool: ${text.toLowerCase()}`, run: () => editor.use(tool), shown: key.toUpperCase() })),
    ...LABELS.map(({ label, text, key }) => ({ keys: [key], text: `Label: ${text.toLowerCase()}`, run: () => editor.mark_as(label), shown: key.toUpperCase() })),
    { keys: ["a", "Enter"], text: "Put a mark in the middle of the view", run: () => editor.add(), shown: "A" },
    { keys: ["."], text: "Next mark", run: () => editor.cycle(1) },
    { keys: [","], text: "Previous mark", run: () => editor.cycle(-1) },
    ...arrows("Move the mark by 1 px", "", (dx, dy) => editor.nudge(dx, dy)),
    ...arrows("Move the mark by 10 px", "shift+", (dx, dy) => editor.nudge(10 * dx, 10 * dy)),
    ...arrows("Make the mark wider, narrower, higher, lower", "alt+", (dx, dy) => editor.grow(2 * dx, -2 * dy)),
    { keys: ["]"], text: "Turn the mark by 5° clockwise", run: () => editor.turn(TURN) },
    { keys: ["["], text: "Turn the mark by 5° back", run: () => editor.turn(-TURN) },
    { keys: ["Delete", "Backspace"], text: "Delete the mark", run: () => editor.remove() },
    { keys: ["ctrl+z"], text: "Undo", run: () => editor.undo(), shown: "Ctrl Z" },
    { keys: ["ctrl+y", "ctrl+shift+z"], text: "Redo", run: () => editor.redo(), shown: "Ctrl Y" },
    { keys: ["+", "="], text: "Nearer", run: () => editor.zoom(1.4) },
    { keys: ["-"], text: "Farther", run: () => editor.zoom(1 / 1.4) },
    { keys: ["0"], text: "The whole tile", run: () => editor.fit() },
    { keys: ["h"], text: "Hide or show the marks", run: veil, shown: "H" },
    { keys: ["Escape"], text: "Nothing selected", run: () => { editor.cancel(); editor.select(null); }, shown: "Esc" },
    { keys: ["?"], text: "This help", run: () => help(keys) },
  ];
  listen(keys, signal);

  guard_with(leave_tile, signal);
  signal.addEventListener("abort", () => open?.saver.close());
  window.addEventListener("beforeunload", (event) => { if (open?.saver.unsaved) event.preventDefault(); }, { signal });
  window.addEventListener("online", () => void open?.saver.flush(), { signal });
  document.addEventListener("visibilitychange", () => { if (document.hidden) void open?.saver.flush(); }, { signal });

  tiles.forEach(paint_cell);
  dim();
  const wanted = here.query.get("tile");
  const first = tiles.find((tile) => String(tile.id) === wanted) ?? tiles.find((tile) => !tile.done) ?? tiles[0];
  if (first) await show(first);
  else paint_head();
  return h("div", { class: "workplace" },
    top,
    h("aside", {}, grid),
    h("section", { class: "desk", "aria-label": "Tile" },
      h("div", { class: "tools", role: "toolbar", "aria-label": "Tools" },
        h("span", { class: "group" }, ...tool_buttons),
        h("span", { class: "group" }, ...label_buttons),
        h("span", { class: "group" }, undo, redo, remove),
        h("span", { class: "group" },
          button("−", () => editor.zoom(1 / 1.4), { "aria-label": "Farther", title: "Farther (-)" }),
          button("+", () => editor.zoom(1.4), { "aria-label": "Nearer", title: "Nearer (+)" }),
          button("Fit", () => editor.fit(), { title: "The whole tile (0)" }),
          button("?", () => help(keys), { "aria-label": "Keys", title: "Keys (?)" })),
        h("label", { class: "inline" }, "Opacity", opacity)),
      conflict,
      editor.node,
      h("div", { class: "below" },
        button("Previous", () => step(-1), { title: "Previous tile (Shift+N)" }),
        title, said,
        button("Next", () => step(1), { title: "Next tile (N)" }),
        done)));
}
