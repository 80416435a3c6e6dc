const newline = 0x0a;

/** Cuts a byte stream at line ends. `take` gets whole lines (with their \n) in one block; a longer line comes in pieces. */
export class LineSplitter {
  #carry: Buffer[] = [];
  #carried = 0;
  readonly #take: (block: Buffer) => void;
  readonly #maxBytes: number;

  /** `maxBytes`: so much is held while no line end comes; default 64 KiB. */
  constructor(take: (block: Buffer) => void, { maxBytes = 65_536 }: { maxBytes?: number } = {}) {
    this.#take = take;
    this.#maxBytes = maxBytes;
  }

  push(chunk: Buffer): void {
    const end = chunk.lastIndexOf(newline) + 1;
    if (end > 0) {
      this.#hold(chunk.subarray(0, end));
      this.flush();
    }
    if (end < chunk.length) this.#hold(chunk.subarray(end));
    while (this.#carried > this.#maxBytes) this.#cut();
  }

  /** Gives out what is held, as at the end of the stream. */
  flush(): void {
    if (this.#carried === 0) return;
    const block = this.#joined();
    this.#carry = [];
    this.#carried = 0;
    this.#take(block);
  }

  #hold(bytes: Buffer): void {
    this.#carry.push(bytes);
    this.#carried += bytes.length;
  }

  #joined(): Buffer {
    return this.#carry.length === 1 ? (this.#carry[0] as Buffer) : Buffer.concat(this.#carry);
  }

  #cut(): void {
    const block = this.#joined();
    let at = this.#maxBytes;
    // Never inside a character: the bytes 10xxxxxx go on with the one before.
    while (at > this.#maxBytes - 4 && ((block[at] ?? 0) & 0xc0) === 0x80) at--;
    this.#carry = [block.subarray(at)];
    this.#carried = block.length - at;
    this.#take(block.subarray(0, at));
  }
}
