/** Detections over a slide, on one canvas, so that fifty thousand are no burden. */

import OpenSeadragon from "openseadragon";

import type { Label } from "./api";

export interface Detection {
  index: number; x: number; y: number; width: number; height: number; score: number; label: string;
  tile_id: number | null; taken: Label | null;
}
export interface Outline { shape: "circle" | "square"; x: number; y: number; reach: [number, number] }

const RADIUS = 4; // px on the screen
const COLOURS = { found: "#ff1f1f", mitosis: "#00e676", imposter: "#ffb300" };

export class Dots {
  /** The highest score first. */
  shown: Detection[] = [];
  selected: Detection | null = null;
  outline: Outline | null = null;
  private readonly canvas = document.createElement("canvas");

  constructor(private readonly viewer: OpenSeadragon.Viewer, private readonly slide: { width: number; height: number }) {
    this.canvas.className = "dots";
    viewer.canvas.append(this.canvas);
    viewer.addHandler("update-viewport", () => this.draw());
    viewer.addHandler("resize", () => this.draw());
  }

  /** The nearest detection to a place on the screen, within the reach of a finger. */
  at(place: { x: number; y: number }): Detection | null {
    const { scale, left, top } = this.view();
    let [best, nearest]: [Detection | null, number] = [null, Infinity];
    for (const one of this.shown) {
      const away = Math.hypot((one.x - left) * scale - place.x, (one.y - top) * scale - place.y);
      if (away < nearest && away < Math.max(12, (Math.max(one.width, one.height) / 2) * scale)) [best, nearest] = [one, away];
    }
    return best;
  }

  draw(): void {
    const { scale, left, top, width, height } = this.view();
    const ratio = window.devicePixelRatio || 1;
    const [across, down] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.canvas.width !== across) this.canvas.width = across;
    if (this.canvas.height !== down) this.canvas.height = down;
    const pen = this.canvas.getContext("2d");
    if (!pen) return;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const paths = { found: new Path2D(), mitosis: new Path2D(), imposter: new Path2D() };
    const ring = (path: Path2D, one: Detection, radius: number): void => {
      const [x, y] = [(one.x - left) * scale, (one.y - top) * scale];
      if (x < -radius || y < -radius || x > width + radius || y > height + radius) return;
      path.moveTo(x + radius, y);
      path.arc(x, y, radius, 0, 2 * Math.PI);
    };
    const radius = (one: Detection): number => Math.max(RADIUS, (Math.max(one.width, one.height) / 2 + 4) * scale);
    for (const one of this.shown) ring(paths[one.taken ?? "found"], one, radius(one));
    const near = this.shown[0] ? radius(this.shown[0]) > 2 * RADIUS : false;
    pen.lineWidth = 2.5;
    for (const kind of ["found", "imposter", "mitosis"] as const) {
      pen.strokeStyle = pen.fillStyle = COLOURS[kind];
      if (near) pen.stroke(paths[kind]); // a ring leaves the figure to be seen
      else pen.fill(paths[kind]);
    }
    if (this.selected) {
      const path = new Path2D();
      ring(path, this.selected, radius(this.selected) + 5);
      pen.lineWidth = 5;
      pen.strokeStyle = "#000";
      pen.stroke(path);
      pen.lineWidth = 2.5;
      pen.strokeStyle = "#fff";
      pen.stroke(path);
    }
    if (this.outline) this.draw_outline(pen, this.outline, scale, left, top);
  }

  private draw_outline(pen: CanvasRenderingContext2D, spot: Outline, scale: number, left: number, top: number): void {
    const [x, y] = [(spot.x - left) * scale, (spot.y - top) * scale];
    const [rx, ry] = [spot.reach[0] * scale, spot.reach[1] * scale];
    pen.beginPath();
    if (spot.shape === "circle") pen.ellipse(x, y, rx, ry, 0, 0, 2 * Math.PI);
    else pen.rect(x - rx, y - ry, 2 * rx, 2 * ry);
    pen.lineWidth = 4;
    pen.strokeStyle = "#fff";
    pen.stroke();
    pen.lineWidth = 2;
    pen.setLineDash([8, 6]);
    pen.strokeStyle = "#1238c4";
    pen.stroke();
    pen.setLineDash([]);
  }

  /** Pixels on the screen to one of level 0, and the place of level 0 in the upper left corner. */
  private view(): { scale: number; left: number; top: number; width: number; height: number } {
    const { viewport } = this.viewer;
    const { x: width, y: height } = viewport.getContainerSize();
    const bounds = viewport.getBounds(true); // in widths of the slide
    return { scale: width / (bounds.width * this.slide.width), left: bounds.x * this.slide.width, top: bounds.y * this.slide.width, width, height };
  }
}
