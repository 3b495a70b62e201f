/**
 * Plain geometry between what is drawn and elements of the large_image annotation schema.
 *
 * Pixels of the tile, x to the right, y down. `width` and `height` are FULL axes; `rotation` is in
 * radians about the centre, from x towards y: `x' = x cos - y sin`, `y' = x sin + y cos`.
 */

import type { Element, Label } from "./api";

export interface Point { x: number; y: number }
export interface Shape { x: number; y: number; width: number; height: number; rotation: number }
export type Kind = Element["type"];
export type Side = "east" | "south" | "west" | "north";

/** Of an axis, px: less is no figure but a slip of the hand. */
export const SMALLEST = 2;

const SIDES: Record<Side, [number, number]> = { east: [1, 0], south: [0, 1], west: [-1, 0], north: [0, -1] };

export function shape_of(element: Element): Shape {
  const [x, y] = element.center;
  return { x, y, width: element.width ?? 0, height: element.height ?? 0, rotation: element.rotation ?? 0 };
}

/** The element with another shape; all else of it stays as it was. */
export function with_shape(element: Element, shape: Shape): Element {
  const moved: Element = { ...element, center: [rounded(shape.x), rounded(shape.y), 0] };
  if (element.type === "point") return moved;
  return {
    ...moved, width: rounded(shape.width), height: rounded(shape.height), rotation: turned(shape.rotation),
  };
}

export function new_element(type: Kind, shape: Shape, label: Label): Element {
  return with_shape({ type, id: new_id(), center: [0, 0, 0], label: { value: label } }, shape);
}

/** 24 hexadecimal digits, as the schema asks; randomUUID is not there over plain http. */
export function new_id(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(16).padStart(2, "0")).join("");
}

/** What a drag from one corner of the box to the other encloses. */
export function dragged(from: Point, to: Point, how: { square?: boolean; centred?: boolean } = {}): Shape {
  let [dx, dy] = [to.x - from.x, to.y - from.y];
  if (how.square) {
    const side = Math.max(Math.abs(dx), Math.abs(dy));
    [dx, dy] = [Math.sign(dx || 1) * side, Math.sign(dy || 1) * side];
  }
  return how.centred
    ? { x: from.x, y: from.y, width: 2 * Math.abs(dx), height: 2 * Math.abs(dy), rotation: 0 }
    : { x: from.x + dx / 2, y: from.y + dy / 2, width: Math.abs(dx), height: Math.abs(dy), rotation: 0 };
}

/** The place of a handle, `beyond` pixels outside of its side. */
export function handle(shape: Shape, side: Side, beyond = 0): Point {
  const [ux, uy] = SIDES[side];
  return outward(shape, ux * (shape.width / 2 + beyond), uy * (shape.height / 2 + beyond));
}

/** One side taken to a point; the side across stays where it is. */
export function stretched(shape: Shape, side: Side, to: Point): Shape {
  const [ux, uy] = SIDES[side];
  const local = inward(shape, to);
  const axis = ux ? "width" : "height";
  const size = Math.max(SMALLEST, (ux ? local.x * ux : local.y * uy) + shape[axis] / 2);
  const shift = (size - shape[axis]) / 2;
  const centre = outward(shape, ux * shift, uy * shift);
  return { ...shape, ...centre, [axis]: size };
}

/** The shape turned so that its north points at a point. */
export function pointed(shape: Shape, at: Point): Shape {
  return { ...shape, rotation: turned(Math.atan2(at.y - shape.y, at.x - shape.x) + Math.PI / 2) };
}

/** The centre kept on a tile, as the server asks. */
export function within(shape: Shape, width: number, height: number): Shape {
  return { ...shape, x: clamp(shape.x, 0, width), y: clamp(shape.y, 0, height) };
}

/** Half the width and height of the upright box around an ellipse or rectangle. */
export function half_extent(shape: Shape, type: Kind): Point {
  const [a, b, t] = [shape.width / 2, shape.height / 2, shape.rotation];
  const [ac, as, bc, bs] = [a * Math.cos(t), a * Math.sin(t), b * Math.cos(t), b * Math.sin(t)].map(Math.abs) as
    [number, number, number, number];
  return type === "rectangle" ? { x: ac + bs, y: as + bc } : { x: Math.hypot(ac, bs), y: Math.hypot(as, bc) };
}

function outward(shape: Shape, x: number, y: number): Point {
  const [cos, sin] = [Math.cos(shape.rotation), Math.sin(shape.rotation)];
  return { x: shape.x + x * cos - y * sin, y: shape.y + x * sin + y * cos };
}

function inward(shape: Shape, at: Point): Point {
  const [cos, sin] = [Math.cos(shape.rotation), Math.sin(shape.rotation)];
  const [dx, dy] = [at.x - shape.x, at.y - shape.y];
  return { x: dx * cos + dy * sin, y: -dx * sin + dy * cos };
}

/** To a half turn either way: both figures are the same after it. */
function turned(rotation: number): number {
  const half = rotation - Math.PI * Math.round(rotation / Math.PI);
  return Math.round(half * 1e6) / 1e6;
}

/** A hundredth of a pixel is finer than any hand. */
function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}

export function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value));
}
