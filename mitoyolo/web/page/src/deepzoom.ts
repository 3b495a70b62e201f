/** Crops of a slide out of its Deep Zoom tiles, of the finest level. */

import { call } from "./api";

export interface Zoomed { url: string; width: number; height: number; tile: number; overlap: number }

/** What the server says about the slide's tiles. */
export async function describe(slide: string, signal: AbortSignal): Promise<Zoomed> {
  const answer = await call("GET", `/slides/${slide}/slide.dzi`, undefined, undefined, signal);
  const image = new DOMParser().parseFromString(await answer.text(), "application/xml").documentElement;
  const size = image.getElementsByTagName("Size")[0];
  const number = (from: Element | undefined, name: string): number => Number(from?.getAttribute(name));
  return {
    url: `/api/slides/${slide}/slide_files`, width: number(size, "Width"), height: number(size, "Height"),
    tile: number(image, "TileSize"), overlap: number(image, "Overlap"),
  };
}

/** Draws the square of `side` px about a place of level 0. */
export async function crop(canvas: HTMLCanvasElement, of: Zoomed, x: number, y: number, side: number): Promise<void> {
  const level = Math.ceil(Math.log2(Math.max(of.width, of.height)));
  const [left, top, scale] = [x - side / 2, y - side / 2, canvas.width / side];
  const range = (from: number, size: number): number[] => {
    const first = Math.max(0, Math.floor(from / of.tile));
    const last = Math.min(Math.ceil(size / of.tile) - 1, Math.floor((from + side) / of.tile));
    return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => first + i);
  };
  const places = range(top, of.height).flatMap((row) => range(left, of.width).map((column) => ({ column, row })));
  const pen = canvas.getContext("2d");
  await Promise.all(places.map(async ({ column, row }) => {
    const image = new Image();
    image.src = `${of.url}/${level}/${column}_${row}.jpeg`;
    await image.decode();
    const start = (at: number): number => at * of.tile - (at ? of.overlap : 0);
    pen?.drawImage(image, (start(column) - left) * scale, (start(row) - top) * scale,
      image.naturalWidth * scale, image.naturalHeight * scale);
  }));
}
