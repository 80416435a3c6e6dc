import { checkSize, type FormatCheck, type ImageFacts, ImageFault } from "./image-format.ts";

const startOfScan = 0xda;
const endOfImage = 0xd9;

/**
 * A JPEG by its structure: each segment in its place, a frame with a size, scans, an end. The pixels are not decoded, so
 * damage within a scan and a black picture are not seen (`isBlack` is undefined).
 */
export class JpegCheck implements FormatCheck {
  // `length` and `frame` wait for a segment's first bytes, `skip` for its rest, `scan` for the next marker within pixels.
  #state: "marker" | "code" | "length" | "frame" | "skip" | "scan" | "escape" | "over" = "marker";
  #marker = 0;
  #few: number[] = [];
  #skip = 0;
  #size: { readonly width: number; readonly height: number } | undefined;
  #scanBytes = 0;

  async push(piece: Buffer): Promise<void> {
    for (let at = 0; at < piece.length && this.#state !== "over";) {
      if (this.#state === "skip") {
        const step = Math.min(this.#skip, piece.length - at);
        at += step;
        this.#skip -= step;
        if (this.#skip === 0) this.#state = this.#marker === startOfScan ? "scan" : "marker";
      } else if (this.#state === "scan") {
        const next = piece.indexOf(0xff, at);
        this.#scanBytes += (next < 0 ? piece.length : next) - at;
        if (next >= 0) this.#state = "escape";
        at = next < 0 ? piece.length : next + 1;
      } else this.#byte(piece[at++] ?? 0);
    }
  }

  async end(): Promise<ImageFacts> {
    if (this.#state !== "over") throw new ImageFault("is cut off before its end");
    if (!this.#size || this.#scanBytes === 0) throw new ImageFault("has no pixels");
    return { mime: "image/jpeg", extension: "jpg", ...this.#size, isBlack: undefined };
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
        // Within a scan, FF 00 is a pixel byte and D0-D7 are restart points; FF FF is filling.
        if (byte === 0 || (byte >= 0xd0 && byte <= 0xd7)) this.#state = "scan";
        else this.#code(byte);
        return;
      case "length":
        return this.#length(byte);
      default:
        return this.#frame(byte);
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
    this.#skip = high * 256 + low - 2;
    this.#few = [];
    if (this.#skip < 0) throw new ImageFault("is damaged: a segment has no length");
    const isFrame = this.#marker >= 0xc0 && this.#marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(this.#marker);
    if (isFrame && this.#skip < 6) throw new ImageFault("is damaged: its frame is too short");
    if (this.#marker === startOfScan && !this.#size) throw new ImageFault("is damaged: it has pixels before their size");
    this.#state = isFrame ? "frame" : this.#skip > 0 ? "skip" : "marker";
  }

  #frame(byte: number): void {
    this.#few.push(byte);
    this.#skip -= 1;
    if (this.#few.length < 5) return;
    const [, h1 = 0, h0 = 0, w1 = 0, w0 = 0] = this.#few;
    this.#size = { width: w1 * 256 + w0, height: h1 * 256 + h0 };
    checkSize(this.#size.width, this.#size.height);
    this.#state = "skip";
  }
}
