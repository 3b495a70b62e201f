import type { Me } from "../api";
import type { Where } from "../router";

/**
 * Where one is, who one is, a signal that tells when the view is left, and `place`, for a view that
 * must stand on the page before it is complete.
 */
export interface Here extends Where { me: Me; signal: AbortSignal; place(node: Node): void }

export type View = (here: Here) => Promise<Node>;

/** Again every so often until the view is left; a failure is left to the next turn. */
export function every(ms: number, signal: AbortSignal, work: () => Promise<void>): void {
  const timer = setInterval(() => {
    if (!document.hidden) void work().catch(() => undefined);
  }, ms);
  signal.addEventListener("abort", () => clearInterval(timer));
}
