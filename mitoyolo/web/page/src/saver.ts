/** Saves the marks of one tile soon after a change, and never over what it has not seen. */

import { ApiError, send, type Element, type Marks } from "./api";
import { text_of } from "./dom";

export type Saving = "saved" | "waiting" | "saving" | "failed" | "conflict";

interface Told {
  state(saving: Saving, text: string): void;
  /** Someone else saved since: `theirs` is what stands on the server. */
  conflict(theirs: Marks): void;
}

const SOON = 600; // ms
const AGAIN = 5000;

export class Saver {
  private version: number;
  private dirty = false;
  private going: Promise<boolean> | null = null;
  private timer = 0;
  private stuck: Marks | null = null;

  constructor(
    private readonly path: string,
    seen: Marks,
    private readonly mine: () => { done: boolean; elements: Element[] },
    private readonly told: Told,
  ) {
    this.version = seen.version;
  }

  get unsaved(): boolean {
    return this.dirty;
  }

  /** Something changed: save it soon. */
  touch(): void {
    this.dirty = true;
    if (this.stuck) return;
    this.told.state("waiting", "Not saved yet");
    this.after(SOON);
  }

  /** Saves now; whether all is saved. */
  async flush(): Promise<boolean> {
    clearTimeout(this.timer);
    while (this.going) await this.going;
    if (!this.dirty) return true;
    if (this.stuck) return false;
    this.going = this.save();
    const saved = await this.going;
    this.going = null;
    return saved && this.dirty ? this.flush() : saved;
  }

  /** Out of a conflict: mine saved on top of theirs, or theirs taken. */
  async settle(choice: "mine" | "theirs"): Promise<boolean> {
    if (!this.stuck) return true;
    this.version = this.stuck.version;
    this.stuck = null;
    this.dirty = choice === "mine";
    if (!this.dirty) this.told.state("saved", "Theirs is shown; undo brings yours back");
    return this.flush();
  }

  /** Its tile is no longer shown: what `mine` gives now is another's. */
  close(): void {
    clearTimeout(this.timer);
    this.dirty = false;
  }

  private after(delay: number): void {
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.flush(), delay);
  }

  private async save(): Promise<boolean> {
    this.dirty = false;
    this.told.state("saving", "Saving");
    try {
      const marks = await send<Marks>("PUT", this.path, { version: this.version, ...this.mine() });
      this.version = marks.version;
      if (!this.dirty) this.told.state("saved", "Saved");
      return true;
    } catch (error) {
      this.dirty = true;
      const theirs = error instanceof ApiError && error.status === 409 && (error.body["current"] as Marks | undefined);
      if (theirs) {
        this.stuck = theirs;
        this.told.state("conflict", "Not saved: someone else saved this tile");
        this.told.conflict(theirs);
      } else {
        this.told.state("failed", `Not saved: ${text_of(error)}`);
        if (error instanceof ApiError && (error.status === 0 || error.status === 401 || error.status >= 500)) this.after(AGAIN);
      }
      return false;
    }
  }
}
