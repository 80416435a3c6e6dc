import { isUtf8 } from "node:buffer";

/** Checks UTF-8 that arrives in chunks. JSON.parse never sees bad bytes, because decoding mends them; we pass on the bytes themselves. */
export class Utf8Check {
  #carry: Buffer = Buffer.alloc(0);

  /** False when what came so far ends within a character. */
  get isWhole(): boolean {
    return this.#carry.length === 0;
  }

  push(chunk: Buffer): boolean {
    let body = chunk;
    if (this.#carry.length > 0) {
      // A character lies across the border: put its parts together, then go on behind it.
      const joined = Buffer.concat([this.#carry, chunk.subarray(0, 4)]);
      const need = sequenceLength(this.#carry[0] ?? 0);
      if (joined.length < need) {
        this.#carry = joined;
        return true;
      }
      if (!isUtf8(joined.subarray(0, need))) return false;
      body = chunk.subarray(need - this.#carry.length);
    }
    const cut = incompleteTail(body);
    this.#carry = Buffer.from(body.subarray(body.length - cut));
    return isUtf8(body.subarray(0, body.length - cut));
  }
}

function sequenceLength(lead: number): number {
  return lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
}

/** How many bytes at the end belong to a character that is not complete yet. */
function incompleteTail(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if (byte < 0x80) return 0;
    if (byte >= 0xc0) return sequenceLength(byte) > back ? back : 0;
  }
  return 0;
}
