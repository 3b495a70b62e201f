/** A file sent in parts, which may be paused, and goes on where it was after a failure or a reload. */

import { ApiError, get, put_bytes, send, type Upload } from "./api";

const TRIES = 8;

export class Uploading {
  offset = 0;
  private upload: Upload | null = null;
  private stop: AbortController | null = null;

  constructor(readonly file: File, private readonly progress: (offset: number, text: string) => void) {}

  /** Sends what is missing; the upload's id once all is there, null when paused. */
  async run(): Promise<string | null> {
    this.stop = new AbortController();
    const { signal } = this.stop;
    const upload = this.upload = await this.begun();
    this.told(upload.offset);
    let failed = 0;
    while (this.offset < this.file.size) {
      const part = this.file.slice(this.offset, this.offset + (upload.part_size ?? 2 ** 23));
      try {
        const { offset } = await put_bytes<{ offset: number }>(`/uploads/${upload.id}?offset=${this.offset}`, part, signal);
        this.told(offset);
        failed = 0;
      } catch (error) {
        if (signal.aborted) return null;
        const passing = error instanceof ApiError && (error.status === 0 || error.status === 409 || error.status >= 500);
        if (!passing || ++failed > TRIES) throw error;
        this.progress(this.offset, "The server does not answer; trying again");
        await new Promise((go_on) => {
          setTimeout(go_on, Math.min(15000, 500 * 2 ** failed));
          signal.addEventListener("abort", go_on);
        });
        if (signal.aborted) return null;
        this.told(await get<Upload>(`/uploads/${upload.id}`).then((now) => now.offset, () => this.offset));
      }
      if (signal.aborted) return null;
    }
    return upload.id;
  }

  pause(): void {
    this.stop?.abort();
  }

  /** It became a slide: there is nothing to go on with. */
  finished(): void {
    localStorage.removeItem(this.key());
  }

  private told(offset: number): void {
    this.offset = offset;
    this.progress(offset, "");
  }

  private async begun(): Promise<Upload> {
    const known = this.upload?.id ?? localStorage.getItem(this.key());
    if (known) {
      const upload = await get<Upload>(`/uploads/${known}`).catch((error: unknown) => {
        if (error instanceof ApiError && error.status === 404) return null;
        throw error;
      });
      if (upload?.size === this.file.size) return { ...this.upload, ...upload };
    }
    const upload = await send<Upload>("POST", "/uploads", { name: this.file.name, size: this.file.size });
    localStorage.setItem(this.key(), upload.id);
    return upload;
  }

  private key(): string {
    return `upload:${this.file.name}:${this.file.size}:${this.file.lastModified}`;
  }
}
