import { Buffer } from "node:buffer";
import { createHash, type Hash } from "node:crypto";
import { open } from "node:fs/promises";

const blockBytes = 1024 * 1024;

/** The sha256 of a file that is still being written, taken from the page cache right behind the writers: at the end little is left to read. */
export class FollowHash {
  readonly #path: string;
  #hash: Hash = createHash("sha256");
  #at = 0;
  #target = 0;
  #running: Promise<void> = Promise.resolve();
  #busy = false;
  #failure: unknown;

  constructor(path: string) {
    this.#path = path;
  }

  /** All bytes before `to` are written. */
  advance(to: number): void {
    this.#target = Math.max(this.#target, to);
    if (this.#busy || this.#failure || this.#target - this.#at < 4 * blockBytes) return;
    this.#busy = true;
    this.#running = this.#catchUp()
      .catch((error: unknown) => {
        this.#failure = error;
      })
      .finally(() => {
        this.#busy = false;
      });
  }

  /** The writers begin at 0 again. */
  async restart(): Promise<void> {
    this.#target = this.#at;
    await this.#running;
    this.#hash = createHash("sha256");
    this.#at = this.#target = 0;
  }

  /** Of the first `size` bytes. Throws the system's error when the file cannot be read. */
  async digest(size: number): Promise<string> {
    await this.#running;
    if (this.#failure) throw this.#failure;
    this.#target = size;
    await this.#catchUp();
    return this.#hash.digest("hex");
  }

  async #catchUp(): Promise<void> {
    await using file = await open(this.#path, "r");
    const block = Buffer.allocUnsafe(blockBytes);
    while (this.#at < this.#target) {
      const { bytesRead } = await file.read(block, 0, Math.min(blockBytes, this.#target - this.#at), this.#at);
      if (bytesRead === 0) throw new Error("the file became shorter");
      this.#hash.update(block.subarray(0, bytesRead));
      this.#at += bytesRead;
    }
  }
}

export async function sha256Of(path: string, size: number): Promise<string> {
  return new FollowHash(path).digest(size);
}
