import { JpegBlack } from "./jpeg-black.ts";
import { checkSize, type FormatCheck, type ImageFacts, ImageFault } from "./image-format.ts";

const startOfScan = 0xda;
const endOfImage = 0xd9;

/**
 * A JPEG by its structure: each segment in its place, a frame with a size, scans, an end. Its pixels are read only as far as it
 * takes to see that it is not black, so damage in the middle of a scan is not found.
 */
export class JpegCheck implements FormatCheck {
  // `length` waits for a segment's two bytes of length, `body` for the rest of it, `scan` for the next marker within pixels.
  #state: "marker" | "code" | "length" | "body" | "scan" | "escape" | "over" = "marker";
  #marker = 0;
  #few: number[] = [];
  #left = 0;
  /** The segment's body so far; only of the few that are read. */
  #parts: Buffer[] = [];
  readonly #black = new JpegBlack();
  #size: { readonly width: number; readonly height: number } | undefined;
  #scanBytes = 0;

  async push(piece: Buffer): Promise<void> {
    for (let at = 0; at < piece.length && this.#state !== "over";) {
      if (this.#state === "body") {
        const part = piece.subarray(at, at + this.#left);
        at += part.length;
        this.#left -= part.length;
        if (isRead(this.#marker)) this.#parts.push(Buffer.from(part));
        if (this.#left === 0) this.#endSegment();
      } else if (this.#state === "scan") {
        const next = piece.indexOf(0xff, at);
        const part = piece.subarray(at, next < 0 ? piece.length : next);
        this.#scanBytes += part.length;
        this.#black.pixels(part);
        if (next >= 0) this.#state = "escape";
        at += part.length + (next < 0 ? 0 : 1);
      } else this.#byte(piece[at++] ?? 0);
    }
  }

  async end(): Promise<ImageFacts> {
    if (this.#state !== "over") throw new ImageFault("is cut off before its end");
    if (!this.#size || this.#scanBytes === 0) throw new ImageFault("has no pixels");
    return { mime: "image/jpeg", extension: "jpg", ...this.#size, isBlack: this.#black.end() };
  }

  close(): void {
    this.#state = "over";
  }

  #byte(byte: number): void {
    switch (this.#state) {
      case "marker":
        if (byte !== 0xff) throw new ImageFault("is damaged: a marker is missing");
        this.#state = "code";
        return;
      case "code":
        return this.#code(byte);
      case "escape":
        return this.#escape(byte);
      default:
        return this.#length(byte);
    }
  }

  #code(byte: number): void {
    if (byte === 0xff) return;
    this.#marker = byte;
    this.#few = [];
    if (byte === 0xd8) this.#state = "marker";
    else if (byte === endOfImage) this.#state = "over";
    else if (byte < 0xc0) throw new ImageFault(`is damaged: it has the unknown marker ${byte.toString(16)}`);
    else this.#state = "length";
  }

  #length(byte: number): void {
    this.#few.push(byte);
    const [high = 0, low] = this.#few;
    if (low === undefined) return;
    this.#left = high * 256 + low - 2;
    this.#parts = [];
    if (this.#left < 0) throw new ImageFault("is damaged: a segment has no length");
    if (this.#marker === startOfScan && !this.#size) throw new ImageFault("is damaged: it has pixels before their size");
    this.#state = "body";
    if (this.#left === 0) this.#endSegment();
  }

  #endSegment(): void {
    const body = Buffer.concat(this.#parts);
    this.#state = this.#marker === startOfScan ? "scan" : "marker";
    if (isFrame(this.#marker)) {
      if (body.length < 6) throw new ImageFault("is damaged: its frame is too short");
      this.#size = { height: body.readUInt16BE(1), width: body.readUInt16BE(3) };
      checkSize(this.#size.width, this.#size.height);
    }
    if (isRead(this.#marker)) this.#black.segment(this.#marker, body);
  }

  /** Within a scan, FF 00 stands for the byte FF, D0-D7 are restart points, and FF FF is filling. */
  #escape(byte: number): void {
    if (byte === 0) this.#black.pixels(Buffer.of(0xff));
    else if (byte >= 0xd0 && byte <= 0xd7) this.#black.restart();
    else return this.#code(byte);
    this.#state = "scan";
  }
}

function isFrame(marker: number): boolean {
  return marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;
}

/** Quantisers, Huffman tables, Adobe's colour word, frames and scans. */
function isRead(marker: number): boolean {
  return isFrame(marker) || marker === 0xdb || marker === 0xc4 || marker === 0xee || marker === startOfScan;
}
