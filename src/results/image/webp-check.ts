import { checkSize, type FormatCheck, type ImageFacts, ImageFault } from "./image-format.ts";

const headBytes = 30;

/** A WebP by its structure: RIFF size, first chunk, dimensions. The pixels are not decoded (`isBlack` is undefined). */
export class WebpCheck implements FormatCheck {
  #head: Buffer = Buffer.alloc(0);
  #sizeBytes = 0;

  async push(piece: Buffer): Promise<void> {
    if (this.#head.length < headBytes) this.#head = Buffer.concat([this.#head, piece.subarray(0, headBytes - this.#head.length)]);
    this.#sizeBytes += piece.length;
  }

  async end(): Promise<ImageFacts> {
    if (this.#head.length < headBytes) throw new ImageFault("is cut off in its header");
    const claimed = this.#head.readUInt32LE(4) + 8;
    if (this.#sizeBytes < claimed) throw new ImageFault(`is cut off: it has ${this.#sizeBytes} of ${claimed} bytes`);
    const { width, height } = sizeOf(this.#head);
    checkSize(width, height);
    return { mime: "image/webp", extension: "webp", width, height, isBlack: undefined };
  }

  close(): void {}
}

function sizeOf(head: Buffer): { width: number; height: number } {
  const form = head.toString("latin1", 12, 16);
  if (form === "VP8X") return { width: head.readUIntLE(24, 3) + 1, height: head.readUIntLE(27, 3) + 1 };
  if (form === "VP8 " && head.readUIntBE(23, 3) === 0x9d012a) return { width: head.readUInt16LE(26) & 0x3fff, height: head.readUInt16LE(28) & 0x3fff };
  if (form === "VP8L" && head[20] === 0x2f) {
    const bits = head.readUInt32LE(21);
    return { width: (bits & 0x3fff) + 1, height: ((bits >> 14) & 0x3fff) + 1 };
  }
  throw new ImageFault("is damaged: it has no known kind of WebP pixels");
}
