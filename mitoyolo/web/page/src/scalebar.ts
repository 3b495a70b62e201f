/** A scale bar: the longest round length that fits. */

const ROUND = [1, 2, 5];

/** Its length in µm and in pixels of the screen, at `um` µm to such a pixel. */
export function bar(um: number, room: number): { um: number; px: number; text: string } {
  const most = um * room;
  const power = 10 ** Math.floor(Math.log10(most));
  const length = power * Math.max(...ROUND.filter((step) => step * power <= most * (1 + 1e-9)));
  return { um: length, px: length / um, text: length >= 1000 ? `${length / 1000} mm` : `${Number(length.toPrecision(3))} µm` };
}
