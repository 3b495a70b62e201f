/** A tile large, with its marks: drawn, selected, moved, stretched, turned, undone. */

import type { Element, Label, Tile } from "./api";
import { h, put, s } from "./dom";
import {
  clamp, dragged, handle, new_element, pointed, shape_of, SMALLEST, stretched, with_shape, within,
  type Kind, type Point, type Shape, type Side,
} from "./ellipse";

export type Tool = "select" | Kind;

interface Told {
  /** The marks are others now. */
  changed(): void;
  /** Tool, label or selection are others now. */
  chosen(): void;
}

type Drag =
  | { what: "pan"; from: Point; view: View }
  | { what: "pinch"; apart: number }
  | { what: "draw"; from: Point; type: Kind }
  | { what: "move"; from: Point; element: Element }
  | { what: "stretch"; side: Side; element: Element; off: Point }
  | { what: "turn"; element: Element };
interface View { x: number; y: number; width: number; height: number }

/** Of a figure placed by the keyboard, in µm, and in px where the tile's µm/px are not known. */
const USUAL_UM = 8;
const USUAL_PX = 32;
const CLICK = 4; // px on the screen: a shorter drag is a click

export class Editor {
  readonly node: HTMLElement;
  tool: Tool = "ellipse";
  label: Label = "mitosis";
  selected: string | null = null;
  read_only = false;

  private elements: Element[] = [];
  private past: Element[][] = [];
  private future: Element[][] = [];
  private draft: Element | null = null;
  private drag: Drag | null = null;
  private readonly down = new Map<number, PointerEvent>();
  private tile: Pick<Tile, "width" | "height" | "mpp"> = { width: 1, height: 1, mpp: null };
  private view: View = { x: 0, y: 0, width: 1, height: 1 };
  private readonly drawn = new Map<string, SVGGElement>();
  private readonly picture = s("image", { x: 0, y: 0, preserveAspectRatio: "none" });
  private readonly others = s("g", { class: "others" });
  private readonly marks = s("g", { class: "marks" });
  private readonly handles = s("g", { class: "handles" });
  private readonly svg = s("svg", { class: "tile", role: "group", "aria-label": "Tile" },
    this.picture, this.others, this.marks, this.handles);

  constructor(private readonly told: Told, signal: AbortSignal) {
    this.node = h("div", { class: "easel" }, this.svg);
    const listen = <K extends keyof SVGElementEventMap>(type: K, heard: (event: SVGElementEventMap[K]) => void): void =>
      this.svg.addEventListener(type, heard, { signal, passive: false });
    listen("pointerdown", (event) => this.pressed(event));
    listen("pointermove", (event) => this.moved(event));
    listen("pointerup", (event) => this.released(event));
    listen("pointercancel", (event) => { this.down.delete(event.pointerId); this.cancel(); });
    listen("focusin", (event) => this.select((event.target as SVGElement).dataset["id"] ?? this.selected));
    listen("wheel", (event) => {
      event.preventDefault();
      this.zoom(2 ** (-event.deltaY / 300), this.at(event));
    });
    const sized = new ResizeObserver(() => this.paint());
    sized.observe(this.svg);
    signal.addEventListener("abort", () => sized.disconnect());
  }

  show(tile: Pick<Tile, "id" | "width" | "height" | "mpp">, elements: Element[]): void {
    this.tile = tile;
    this.elements = elements;
    [this.past, this.future, this.drag, this.draft] = [[], [], null, null];
    this.picture.setAttribute("width", String(tile.width));
    this.picture.setAttribute("height", String(tile.height));
    this.picture.setAttribute("href", `/api/tiles/${tile.id}/image`);
    this.select(null);
    this.fit();
  }

  current(): Element[] {
    return this.elements;
  }

  /** Marks that cannot be changed here, under a class of their own. */
  beside(elements: Element[], kind: string): void {
    this.others.append(...elements.map((element) => mark(element, { class: `mark ${element.label.value} ${kind}` })));
    this.paint();
  }

  clear_beside(): void {
    put(this.others);
  }

  /** Other marks instead; undo brings back those that were. */
  replace(elements: Element[]): void {
    if (this.read_only) return;
    this.past.push(this.elements);
    this.future = [];
    this.settle(elements);
  }

  get can_undo(): boolean { return this.past.length > 0 && !this.read_only; }
  get can_redo(): boolean { return this.future.length > 0 && !this.read_only; }

  undo(): void {
    const before = this.can_undo && this.past.pop();
    if (!before) return;
    this.future.push(this.elements);
    this.settle(before);
  }

  redo(): void {
    const after = this.can_redo && this.future.pop();
    if (!after) return;
    this.past.push(this.elements);
    this.settle(after);
  }

  use(tool: Tool): void {
    this.cancel();
    this.tool = tool;
    this.told.chosen();
    this.paint();
  }

  /** The label of the selected mark, else of the next one. */
  mark_as(label: Label): void {
    this.label = label;
    this.edit((element) => ({ ...element, label: { value: label } }));
    this.told.chosen();
  }

  select(id: string | null): void {
    if (id === this.selected) return;
    this.selected = id;
    this.told.chosen();
    this.paint();
  }

  selection(): Element | null {
    return this.elements.find((element) => element.id === this.selected) ?? null;
  }

  remove(): void {
    const chosen = this.selection();
    if (!chosen) return;
    const place = this.elements.indexOf(chosen);
    this.replace(this.elements.filter((element) => element !== chosen));
    this.select(this.elements[Math.min(place, this.elements.length - 1)]?.id ?? null);
  }

  /** A mark of the usual size in the middle of the view, for the keyboard. */
  add(): void {
    const type = this.tool === "select" ? "ellipse" : this.tool;
    const size = this.tile.mpp ? USUAL_UM / this.tile.mpp : USUAL_PX;
    const { x, y, width, height } = this.view;
    this.put_new(type, { x: x + width / 2, y: y + height / 2, width: size, height: size, rotation: 0 });
  }

  nudge(dx: number, dy: number): void {
    this.reshape((shape) => ({ ...shape, x: shape.x + dx, y: shape.y + dy }));
  }

  grow(dw: number, dh: number): void {
    this.reshape((shape) => ({
      ...shape, width: Math.max(SMALLEST, shape.width + dw), height: Math.max(SMALLEST, shape.height + dh),
    }));
  }

  turn(by: number): void {
    this.reshape((shape) => ({ ...shape, rotation: shape.rotation + by }));
  }

  /** The next mark, or the one before. */
  cycle(by: 1 | -1): void {
    const n = this.elements.length;
    if (!n) return;
    const at = this.elements.findIndex((element) => element.id === this.selected);
    const next = this.elements[at < 0 ? (by > 0 ? 0 : n - 1) : (at + by + n) % n];
    if (next) this.drawn.get(next.id)?.focus();
  }

  fit(): void {
    this.view = { x: 0, y: 0, width: this.tile.width, height: this.tile.height };
    this.paint();
  }

  zoom(by: number, about: Point = this.middle()): void {
    const width = clamp(this.view.width / by, this.tile.width / 16, this.tile.width);
    const ratio = width / this.view.width;
    this.look_at({
      x: about.x - (about.x - this.view.x) * ratio,
      y: about.y - (about.y - this.view.y) * ratio,
      width,
      height: this.view.height * ratio,
    });
  }

  /** A place of the tile in the middle, somewhat nearer. */
  look(at: Point): void {
    const [width, height] = [this.tile.width / 2, this.tile.height / 2];
    this.look_at({ x: at.x - width / 2, y: at.y - height / 2, width, height });
  }

  cancel(): void {
    this.drag = this.draft = null;
    this.paint();
  }

  private look_at(view: View): void {
    this.view = {
      ...view,
      x: clamp(view.x, 0, this.tile.width - view.width),
      y: clamp(view.y, 0, this.tile.height - view.height),
    };
    this.paint();
  }

  private middle(): Point {
    return { x: this.view.x + this.view.width / 2, y: this.view.y + this.view.height / 2 };
  }

  private reshape(how: (shape: Shape) => Shape): void {
    this.edit((element) => with_shape(element, within(how(shape_of(element)), this.tile.width, this.tile.height)));
  }

  private edit(how: (element: Element) => Element): void {
    const chosen = this.selection();
    if (chosen) this.replace(this.elements.map((element) => (element === chosen ? how(element) : element)));
  }

  private put_new(type: Kind, shape: Shape): void {
    if (this.read_only) return;
    const element = new_element(type, within(shape, this.tile.width, this.tile.height), this.label);
    this.replace([...this.elements, element]);
    this.select(element.id);
  }

  private settle(elements: Element[]): void {
    this.elements = elements;
    if (!this.selection()) this.selected = null;
    this.paint();
    this.told.changed();
    this.told.chosen();
  }

  /** Where the pointer is, in pixels of the tile. */
  private at(event: MouseEvent): Point {
    const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.svg.getScreenCTM()?.inverse());
    return { x, y };
  }

  /** Pixels on the screen to one of the tile. */
  private scale(): number {
    return this.svg.getScreenCTM()?.a || 1;
  }

  private pressed(event: PointerEvent): void {
    this.down.set(event.pointerId, event);
    if (this.down.size === 2) {
      this.cancel();
      this.drag = { what: "pinch", apart: this.fingers().apart };
    }
    if (this.drag || event.button > 1) return;
    const from = this.at(event);
    const target = event.target as SVGElement;
    const grip = target.dataset["grip"];
    const id = target.closest<SVGGElement>(".marks .mark")?.dataset["id"];
    const chosen = this.selection();
    this.svg.setPointerCapture(event.pointerId);
    if (event.button === 0 && grip && chosen) {
      const side = grip as Side;
      const at = grip === "turn" ? from : handle(shape_of(chosen), side);
      this.drag = grip === "turn"
        ? { what: "turn", element: chosen }
        : { what: "stretch", side, element: chosen, off: { x: from.x - at.x, y: from.y - at.y } };
    } else if (event.button === 0 && this.tool !== "select" && !this.read_only) {
      this.drag = { what: "draw", from, type: this.tool };
    } else if (event.button === 0 && id) {
      this.select(id);
      const element = this.selection();
      if (element && !this.read_only) this.drag = { what: "move", from, element };
    } else {
      if (event.button === 0) this.select(null);
      this.drag = { what: "pan", from: { x: event.clientX, y: event.clientY }, view: this.view };
    }
  }

  private moved(event: PointerEvent): void {
    const drag = this.drag;
    if (this.down.has(event.pointerId)) this.down.set(event.pointerId, event);
    if (!drag) return;
    if (drag.what === "pinch") {
      const { apart, middle } = this.fingers();
      this.zoom(apart / drag.apart, middle);
      drag.apart = apart;
      return;
    }
    if (drag.what === "pan") {
      const scale = this.scale();
      const { x, y } = drag.view;
      this.look_at({
        ...drag.view, x: x - (event.clientX - drag.from.x) / scale, y: y - (event.clientY - drag.from.y) / scale,
      });
      return;
    }
    this.draft = this.drafted(drag, event);
    this.paint();
  }

  /** How far two fingers are apart on the screen, and the place of the tile between them. */
  private fingers(): { apart: number; middle: Point } {
    const [a, b] = [...this.down.values()];
    if (!a || !b) return { apart: 1, middle: this.middle() };
    const [p, q] = [this.at(a), this.at(b)];
    return {
      apart: Math.max(1, Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY)),
      middle: { x: (p.x + q.x) / 2, y: (p.y + q.y) / 2 },
    };
  }

  private drafted(drag: Exclude<Drag, { what: "pan" | "pinch" }>, event: PointerEvent): Element | null {
    const to = this.at(event);
    if (drag.what === "draw") {
      if (drag.type === "point") return null;
      const shape = dragged(drag.from, to, { square: event.shiftKey, centred: event.altKey || event.ctrlKey });
      return new_element(drag.type, within(shape, this.tile.width, this.tile.height), this.label);
    }
    const shape = shape_of(drag.element);
    const how = {
      move: () => drag.what === "move"
        ? { ...shape, x: shape.x + to.x - drag.from.x, y: shape.y + to.y - drag.from.y } : shape,
      stretch: () => drag.what === "stretch"
        ? stretched(shape, drag.side, { x: to.x - drag.off.x, y: to.y - drag.off.y }) : shape,
      turn: () => pointed(shape, to),
    };
    return with_shape(drag.element, within(how[drag.what](), this.tile.width, this.tile.height));
  }

  private released(event: PointerEvent): void {
    const { drag } = this;
    this.down.delete(event.pointerId);
    if (!drag) return;
    this.drag = this.draft = null;
    if (drag.what === "pan" || drag.what === "pinch") return;
    const to = this.at(event);
    const far = drag.what === "draw" ? Math.hypot(to.x - drag.from.x, to.y - drag.from.y) * this.scale() : 0;
    const drafted = this.drafted(drag, event);
    if (drag.what === "draw" && (drag.type === "point" || far < CLICK)) {
      const hit = document.elementsFromPoint(event.clientX, event.clientY)
        .map((node) => node.closest<SVGGElement>(".marks .mark")?.dataset["id"]).find(Boolean);
      if (hit) this.select(hit);
      else if (drag.type === "point") this.put_new("point", { ...drag.from, width: 0, height: 0, rotation: 0 });
      else this.select(null);
    } else if (drag.what === "draw" && drafted) {
      const shape = shape_of(drafted);
      if (Math.min(shape.width, shape.height) >= SMALLEST) this.put_new(drag.type, shape);
    } else if (drafted && drag.what !== "draw" && !same(drafted, drag.element)) {
      this.replace(this.elements.map((element) => (element.id === drafted.id ? drafted : element)));
    }
    this.paint();
  }

  private paint(): void {
    const { x, y, width, height } = this.view;
    this.svg.setAttribute("viewBox", `${x} ${y} ${width} ${height}`);
    this.svg.setAttribute("class", `tile ${this.read_only ? "select" : this.tool}`);
    const unit = 1 / this.scale();
    const draft = this.draft;
    const shown = this.elements.map((element) => (draft?.id === element.id ? draft : element));
    if (draft && !shown.includes(draft)) shown.push(draft);
    const ids = new Set(shown.map((element) => element.id));
    for (const [id, node] of this.drawn) {
      if (ids.has(id)) continue;
      node.remove();
      this.drawn.delete(id);
    }
    shown.forEach((element, i) => {
      const chosen = element.id === this.selected;
      const node = mark(element, {
        class: `mark ${element.label.value}${chosen ? " chosen" : ""}`, "data-id": element.id, tabindex: 0,
        role: "button", "aria-pressed": chosen,
        "aria-label": `${i + 1} of ${shown.length}: ${described(element)}`,
      }, this.drawn.get(element.id));
      if (!node.isConnected) this.marks.append(node);
      this.drawn.set(element.id, node);
    });
    for (const dot of this.svg.querySelectorAll(".spot")) dot.setAttribute("r", String(7 * unit));
    const chosen = shown.find((element) => element.id === this.selected);
    put(this.handles, ...(chosen && !this.read_only && chosen.type !== "point" ? grips(shape_of(chosen), unit) : []));
  }
}

function same(a: Element, b: Element): boolean {
  const [p, q] = [shape_of(a), shape_of(b)];
  return p.x === q.x && p.y === q.y && p.width === q.width && p.height === q.height && p.rotation === q.rotation;
}

export function described(element: Element): string {
  const { x, y, width, height } = shape_of(element);
  const size = element.type === "point" ? "" : `, ${Math.round(width)} by ${Math.round(height)}`;
  return `${element.label.value}, ${element.type} at ${Math.round(x)}, ${Math.round(y)}${size}`;
}

/** The drawing of an element: a dark seam under a bright line, so that it is seen on any stain. */
function mark(element: Element, props: Record<string, unknown>, old?: SVGGElement): SVGGElement {
  const { x, y, width, height, rotation } = shape_of(element);
  const place = { transform: `translate(${x} ${y}) rotate(${(rotation * 180) / Math.PI})` };
  const lines = {
    ellipse: () => s("ellipse", { rx: width / 2, ry: height / 2 }),
    rectangle: () => s("rect", { x: -width / 2, y: -height / 2, width, height }),
    point: () => s("circle", { class: "spot", r: 1 }),
  };
  const [seam, line] = [lines[element.type](), lines[element.type]()];
  seam.classList.add("seam");
  line.classList.add("line");
  const node = old ?? s("g");
  for (const [name, value] of Object.entries({ ...props, ...place })) node.setAttribute(name, String(value));
  put(node, seam, line);
  return node;
}

function grips(shape: Shape, unit: number): SVGElement[] {
  // Somewhat outside of a small figure, so that it is still seen.
  const beyond = (axis: number): number => Math.max(0, 18 * unit - axis / 2);
  const sides: [Side, number][] = [
    ["east", beyond(shape.width)], ["south", beyond(shape.height)], ["west", beyond(shape.width)], ["north", beyond(shape.height)],
  ];
  const [top, knob] = [handle(shape, "north"), handle(shape, "north", beyond(shape.height) + 22 * unit)];
  const dot = (at: Point, grip: string): SVGElement =>
    s("circle", { class: `grip ${grip}`, "data-grip": grip, cx: at.x, cy: at.y, r: 5 * unit });
  return [
    s("line", { class: "arm", x1: top.x, y1: top.y, x2: knob.x, y2: knob.y }),
    ...sides.map(([side, out]) => dot(handle(shape, side, out), side)),
    dot(knob, "turn"),
  ];
}
