import { createInflate, type Inflate } from "node:zlib";
import { createDeferred } from "../../util/deferred.ts";
import { ImageFault } from "./image-format.ts";
import type { PngHeader } from "./png-layout.ts";
import { PngRows } from "./png-rows.ts";

/** Inflates the pixels on zlib's threads, one piece at a time, and reads the rows as they come out: nothing piles up. */
export class PngInflate {
  readonly #zlib: Inflate = createInflate({ chunkSize: 65_536 });
  readonly #rows: PngRows;
  readonly #done = createDeferred<void>();
  #fault: ImageFault | undefined;
  #closed = false;

  constructor(header: PngHeader, palette: Buffer | undefined) {
    this.#rows = new PngRows(header, palette);
    // A late rejection has its reader in `end`; before that the fault is seen by the next `push`.
    this.#done.promise.catch(() => {});
    this.#zlib.on("data", (bytes: Buffer) => {
      if (this.#closed) return;
      try {
        this.#rows.push(bytes);
      } catch (error) {
        this.#fail(error as ImageFault);
      }
    });
    this.#zlib.on("end", () => this.#done.resolve());
    this.#zlib.on("error", (error) => this.#fail(new ImageFault(`is damaged: its pixels cannot be unpacked (${error.message})`)));
  }

  /** Resolves when this piece was taken in; throws the fault found so far. */
  async push(piece: Buffer): Promise<void> {
    if (this.#fault) throw this.#fault;
    await Promise.race([new Promise<void>((resolve) => this.#zlib.write(piece, () => resolve())), this.#done.promise]);
    if (this.#fault) throw this.#fault;
  }

  /** Whether the image is black; throws when the pixels are not whole. */
  async end(): Promise<boolean> {
    this.#zlib.end();
    await this.#done.promise;
    return this.#rows.end();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#zlib.destroy();
  }

  #fail(fault: ImageFault): void {
    this.#fault ??= fault;
    this.#done.reject(fault);
    this.close();
  }
}
