import { crc32 } from "node:zlib";
import { checkSize, type FormatCheck, type ImageFacts, ImageFault } from "./image-format.ts";
import { PngInflate } from "./png-inflate.ts";
import type { PngHeader } from "./png-layout.ts";

const signature = Buffer.from("89504e470d0a1a0a", "hex");
const depthsOf: Readonly<Record<number, readonly number[]>> = { 0: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16] };

type State =
  | { readonly id: "signature" | "head" | "crc" }
  // The bytes of IHDR and PLTE are needed whole, those of IDAT go on to zlib, the others only count for the checksum.
  | { readonly id: "body"; left: number };

/**
 * A PNG piece by piece: signature, the order and checksum of its chunks, a sane header, pixels that inflate to exactly
 * their size, an end. What follows IEND is ignored, as every viewer does.
 */
export class PngCheck implements FormatCheck {
  #state: State = { id: "signature" };
  /** Collects the few bytes of a signature, a chunk's head or checksum, IHDR and PLTE. */
  #few: Buffer = Buffer.alloc(0);
  #type = "";
  #crc = 0;
  #header: PngHeader | undefined;
  #palette: Buffer | undefined;
  #inflate: PngInflate | undefined;
  #idat: "none" | "within" | "over" = "none";
  #ended = false;

  async push(piece: Buffer): Promise<void> {
    let at = 0;
    while (at < piece.length && !this.#ended) {
      const state = this.#state;
      if (state.id === "body") {
        const part = piece.subarray(at, at + state.left);
        at += part.length;
        state.left -= part.length;
        this.#crc = crc32(part, this.#crc);
        if (this.#type === "IDAT") await this.#inflate?.push(part);
        else if (this.#type === "IHDR" || this.#type === "PLTE") this.#few = Buffer.concat([this.#few, part]);
        if (state.left === 0) await this.#endBody();
        continue;
      }
      const need = state.id === "crc" ? 4 : 8;
      const part = piece.subarray(at, at + need - this.#few.length);
      at += part.length;
      this.#few = Buffer.concat([this.#few, part]);
      if (this.#few.length < need) continue;
      const few = this.#few;
      this.#few = Buffer.alloc(0);
      if (state.id === "crc") await this.#checkCrc(few.readUInt32BE(0));
      else if (state.id === "head") await this.#beginChunk(few);
      else if (few.equals(signature)) this.#state = { id: "head" };
      else throw new ImageFault("is no PNG file: its signature is damaged");
    }
  }

  async end(): Promise<ImageFacts> {
    if (!this.#ended || !this.#header || !this.#inflate) throw new ImageFault(this.#header ? "is cut off before its end" : "is cut off in its header");
    const { width, height } = this.#header;
    return { mime: "image/png", extension: "png", width, height, isBlack: await this.#inflate.end() };
  }

  close(): void {
    this.#inflate?.close();
  }

  async #beginChunk(head: Buffer): Promise<void> {
    const sizeBytes = head.readUInt32BE(0);
    const type = head.toString("latin1", 4, 8);
    if (!/^[A-Za-z]{4}$/.test(type) || sizeBytes > 0x7fffffff) throw new ImageFault("is damaged: a chunk's head is no chunk's head");
    if (!this.#header && type !== "IHDR") throw new ImageFault(`is damaged: it begins with ${type} instead of IHDR`);
    if (type === "IHDR") {
      if (this.#header || sizeBytes !== 13) throw new ImageFault("is damaged: its IHDR is wrong");
    } else if (type === "PLTE") {
      if (this.#palette || this.#idat !== "none" || sizeBytes === 0 || sizeBytes > 768 || sizeBytes % 3 !== 0)
        throw new ImageFault("is damaged: its palette is wrong");
    } else if (type === "IDAT") this.#beginPixels();
    else if (type !== "IEND" && type[0] === type[0]?.toUpperCase()) throw new ImageFault(`is damaged: it needs an unknown chunk ${type}`);
    if (type !== "IDAT" && this.#idat === "within") this.#idat = "over";
    if (type === "IEND" && this.#idat === "none") throw new ImageFault("has no pixels");
    this.#type = type;
    this.#crc = crc32(head.subarray(4));
    this.#state = { id: "body", left: sizeBytes };
    if (sizeBytes === 0) await this.#endBody();
  }

  #beginPixels(): void {
    if (this.#idat === "over") throw new ImageFault("is damaged: its pixels are not in one run of chunks");
    this.#idat = "within";
    if (this.#inflate || !this.#header) return;
    if (this.#header.colour === 3 && !this.#palette) throw new ImageFault("is damaged: its palette is missing");
    this.#inflate = new PngInflate(this.#header, this.#palette);
  }

  async #endBody(): Promise<void> {
    if (this.#type === "IHDR") this.#header = readHeader(this.#few);
    else if (this.#type === "PLTE") this.#palette = this.#few;
    this.#few = Buffer.alloc(0);
    this.#state = { id: "crc" };
  }

  async #checkCrc(expected: number): Promise<void> {
    if (expected !== this.#crc) throw new ImageFault(`is damaged: the checksum of its ${this.#type} chunk is wrong`);
    this.#state = { id: "head" };
    if (this.#type === "IEND") this.#ended = true;
  }
}

function readHeader(body: Buffer): PngHeader {
  const [width, height] = [body.readUInt32BE(0), body.readUInt32BE(4)];
  const [bits = 0, colour = 0, compression = 0, filter = 0, interlace = 0] = body.subarray(8);
  checkSize(width, height);
  if (!depthsOf[colour]?.includes(bits) || compression !== 0 || filter !== 0 || interlace > 1)
    throw new ImageFault("is damaged: its header names no known pixel form");
  return { width, height, bits, colour, interlaced: interlace === 1 };
}
