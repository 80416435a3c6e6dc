import { ImageFault } from "./image-format.ts";
import { bytesPerPixel, type PngHeader, rowGroups, type RowGroup } from "./png-layout.ts";
import { PaletteRows } from "./png-palette.ts";

/**
 * Reads inflated scanlines in any pieces: filter bytes, the exact amount, and whether every colour sample is zero.
 *
 * Black is seen without undoing the filters: each of the five predicts a byte from bytes of the same channel to the left and
 * above, and predicts zero from zeros (outside of the image counts as zero). So, by induction, all filtered colour bytes are
 * zero exactly when all colour samples are. Alpha is left out: a viewer without transparency shows what lies under it.
 * A palette's indices are no colours, so those rows are unfiltered.
 */
export class PngRows {
  readonly #groups: readonly RowGroup[];
  readonly #pixelBytes: number;
  /** Bytes of a pixel that are colour; the rest is alpha. */
  readonly #colourBytes: number;
  readonly #palette: PaletteRows | undefined;
  #group = 0;
  #row = 0;
  /** Where in the current row; -1 before its filter byte. */
  #at = -1;
  #black = true;

  constructor(header: PngHeader, palette: Buffer | undefined) {
    this.#groups = rowGroups(header);
    this.#pixelBytes = bytesPerPixel(header);
    this.#colourBytes = header.colour === 4 ? this.#pixelBytes / 2 : header.colour === 6 ? (this.#pixelBytes / 4) * 3 : this.#pixelBytes;
    this.#palette = header.colour === 3 && palette ? new PaletteRows(header.bits, palette) : undefined;
  }

  push(bytes: Buffer): void {
    let at = 0;
    while (at < bytes.length) {
      const group = this.#groups[this.#group];
      if (!group) throw new ImageFault("is damaged: it has more pixels than its size says");
      if (this.#at < 0) {
        const filter = bytes[at++] ?? 0;
        if (filter > 4) throw new ImageFault(`is damaged: row ${this.#row} has the unknown filter ${filter}`);
        this.#at = 0;
        this.#palette?.beginRow(filter, group, this.#row === 0);
      }
      const part = bytes.subarray(at, at + group.rowBytes - this.#at);
      if (this.#palette) this.#palette.push(part);
      else if (this.#black) this.#black = this.#isZero(part);
      at += part.length;
      this.#at += part.length;
      if (this.#at === group.rowBytes) this.#endRow(group);
    }
  }

  /** Whether the image is black all over; throws when pixels are missing. */
  end(): boolean {
    if (this.#group < this.#groups.length) throw new ImageFault("is damaged: it has fewer pixels than its size says");
    return this.#palette ? this.#palette.isBlack : this.#black;
  }

  #endRow(group: RowGroup): void {
    this.#at = -1;
    this.#row += 1;
    if (this.#row < group.rows) return;
    this.#row = 0;
    this.#group += 1;
  }

  #isZero(part: Buffer): boolean {
    if (this.#colourBytes === this.#pixelBytes) {
      for (let i = 0; i < part.length; i++) if (part[i] !== 0) return false;
      return true;
    }
    let channel = this.#at % this.#pixelBytes;
    for (let i = 0; i < part.length; i++) {
      if (channel < this.#colourBytes && part[i] !== 0) return false;
      if (++channel === this.#pixelBytes) channel = 0;
    }
    return true;
  }
}
