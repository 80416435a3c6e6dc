import { ImageFault } from "./image-format.ts";
import type { RowGroup } from "./png-layout.ts";

/** Undoes the filters of a palette image's rows (one byte to the left, whatever the depth) and looks its indices up. */
export class PaletteRows {
  readonly #bits: number;
  readonly #palette: Buffer;
  #above: Buffer = Buffer.alloc(0);
  #current: Buffer = Buffer.alloc(0);
  #filter = 0;
  #at = 0;
  #pixels = 0;
  #black = true;

  constructor(bits: number, palette: Buffer) {
    this.#bits = bits;
    this.#palette = palette;
  }

  get isBlack(): boolean {
    return this.#black;
  }

  beginRow(filter: number, { rowBytes, pixelsPerRow }: RowGroup, isFirst: boolean): void {
    if (isFirst) [this.#above, this.#current] = [Buffer.alloc(rowBytes), Buffer.alloc(rowBytes)];
    else [this.#above, this.#current] = [this.#current, this.#above];
    [this.#filter, this.#at, this.#pixels] = [filter, 0, pixelsPerRow];
  }

  push(part: Buffer): void {
    for (let i = 0; i < part.length; i++) {
      const left = this.#current[this.#at - 1] ?? 0;
      const up = this.#above[this.#at] ?? 0;
      const value = ((part[i] ?? 0) + predict(this.#filter, left, up, this.#above[this.#at - 1] ?? 0)) & 0xff;
      this.#current[this.#at] = value;
      this.#look(value);
      this.#at += 1;
    }
  }

  #look(value: number): void {
    const perByte = 8 / this.#bits;
    const first = this.#at * perByte;
    const mask = 2 ** this.#bits - 1;
    for (let k = 0; k < perByte && first + k < this.#pixels; k++) {
      const entry = ((value >> (8 - this.#bits * (k + 1))) & mask) * 3;
      if (entry >= this.#palette.length) throw new ImageFault("is damaged: a pixel names a colour that its palette lacks");
      if ((this.#palette[entry] ?? 0) + (this.#palette[entry + 1] ?? 0) + (this.#palette[entry + 2] ?? 0) > 0) this.#black = false;
    }
  }
}

function predict(filter: number, left: number, up: number, corner: number): number {
  if (filter === 1) return left;
  if (filter === 2) return up;
  if (filter === 3) return (left + up) >> 1;
  if (filter !== 4) return 0;
  const [toLeft, toUp, toCorner] = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)];
  return toLeft <= toUp && toLeft <= toCorner ? left : toUp <= toCorner ? up : corner;
}
