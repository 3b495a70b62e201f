/** The page's views, by the part of the address behind the `#`. */

export interface Where { path: string; parts: string[]; query: URLSearchParams }

export function where(hash = location.hash): Where {
  const [path = "", query = ""] = hash.replace(/^#/, "").split("?");
  return { path: path || "/", parts: path.split("/").filter(Boolean), query: new URLSearchParams(query) };
}

export function go(path: string): void {
  location.hash = path;
}

/** Whether a view may be left; it may first save, and ask. */
type Guard = () => Promise<boolean>;
let guard: Guard | null = null;

export function guard_with(ask: Guard, signal: AbortSignal): void {
  guard = ask;
  signal.addEventListener("abort", () => { if (guard === ask) guard = null; });
}

export async function may_leave(): Promise<boolean> {
  return !guard || guard();
}

/** Calls `show` at every change of the address that the present view lets happen. */
export function start(show: (to: Where) => Promise<void>): void {
  let shown = location.hash;
  let returning = false;
  window.addEventListener("hashchange", async () => {
    if (returning) {
      returning = false;
      return;
    }
    const wanted = location.hash;
    if (!(await may_leave())) {
      if (location.hash !== shown) {
        returning = true;
        location.hash = shown;
      }
      return;
    }
    if (location.hash !== wanted) return;
    shown = wanted;
    await show(where());
  });
  void show(where());
}
