/** What the server says and takes; see /docs of the server. */

export type Role = "admin" | "annotator";
export type Stage = "assigned" | "submitted" | "approved" | "returned";
export type Label = "mitosis" | "imposter";

export interface Me { id: number; name: string; role: Role; csrf: string }
export interface User { id: number; name: string; role: Role; active: boolean; created_at: string }
export interface Named<Id> { id: Id; name: string }
export interface State { setup: boolean; version: string; source: string }

export interface Assignment {
  id: number; user: Named<number>; stage: Stage; note: string; done: number; marks: number;
}
export interface Batch {
  id: number; slide: Named<string>; number: number; tiles: number; assignments: Assignment[];
}
export interface Tile {
  id: number; column: number; row: number; width: number; height: number; mpp: number | null;
  counts: Partial<Record<Label, number>>; done: boolean; version: number;
}
export type OpenBatch = Omit<Batch, "tiles"> & { tiles: Tile[] };

/** An element of the large_image annotation schema, in pixels of its tile. Widths are full axes. */
export interface Element {
  type: "ellipse" | "rectangle" | "point";
  id: string;
  center: [number, number, number];
  width?: number;
  height?: number;
  rotation?: number;
  label: { value: Label };
  user?: { confidence?: number; from?: "detection" };
}
export interface Marks {
  version: number; done: boolean; elements: Element[]; saved_at: string | null; saved_by: string | null;
}

export interface Job {
  id: number; kind: string; state: "waiting" | "running" | "done" | "failed" | "stopped"; message: string;
  created_at?: string; ended_at?: string | null; slide?: Named<string> | null; options?: Record<string, unknown>;
}
export interface Slide {
  id: string; name: string; state: "cutting" | "ready" | "failed"; error: string | null; kind: "slide" | "tiles";
  width: number | null; height: number | null; mpp: number | null; tile_mpp: number | null;
  batches: { id: number; number: number; tiles: number; done: number }[];
  job: Pick<Job, "id" | "kind" | "state" | "message"> | null;
}

export interface Upload { id: string; name: string; size: number; offset: number; part_size?: number }
export interface AuditRow {
  id: number; at: string; user: string | Named<number> | null; action: string; subject: string;
  detail: Record<string, unknown>;
}

/** An answer that is not a success; `body` is what the server said. */
export class ApiError extends Error {
  constructor(readonly status: number, message: string, readonly body: Record<string, unknown>) {
    super(message);
  }
}

let csrf = "";

export function remember(me: Me | null): void {
  csrf = me?.csrf ?? "";
}

export async function call(method: string, path: string, body?: BodyInit, type?: string, signal?: AbortSignal): Promise<Response> {
  const headers: Record<string, string> = {};
  if (type) headers["Content-Type"] = type;
  if (method !== "GET" && csrf) headers["X-CSRF-Token"] = csrf;
  let answer: Response;
  try {
    answer = await fetch(`/api${path}`, { method, headers, body: body ?? null, signal: signal ?? null, credentials: "same-origin" });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "The server does not answer; see whether mitoyolo serve is running.", {});
  }
  if (answer.ok) return answer;
  const said: Record<string, unknown> = await answer.json().catch(() => ({}));
  if (answer.status === 401 && path !== "/login" && path !== "/me") {
    window.dispatchEvent(new Event("logged-out"));
  }
  throw new ApiError(answer.status, String(said["detail"] ?? `${answer.status} ${answer.statusText}`), said);
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await call("GET", path, undefined, undefined, signal)).json() as Promise<T>;
}

export async function send<T = unknown>(method: "POST" | "PUT" | "PATCH", path: string, body: object = {}): Promise<T> {
  const answer = await call(method, path, JSON.stringify(body), "application/json");
  return (answer.status === 204 ? undefined : await answer.json()) as T;
}

export async function put_bytes<T>(path: string, bytes: Blob, signal: AbortSignal): Promise<T> {
  return (await call("PUT", path, bytes, "application/octet-stream", signal)).json() as Promise<T>;
}

export async function get_file(path: string): Promise<{ name: string; blob: Blob }> {
  const answer = await call("GET", path);
  const name = /filename="?([^";]+)"?/.exec(answer.headers.get("Content-Disposition") ?? "")?.[1];
  return { name: name ?? "annotations.zip", blob: await answer.blob() };
}

/** A path with a query, leaving out what is empty. */
export function query(path: string, values: Record<string, string | undefined>): string {
  const given = Object.entries(values).filter((pair): pair is [string, string] => Boolean(pair[1]));
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}
