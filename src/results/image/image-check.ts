// results/image/ owns whether bytes are an image that a viewer will open, and whether it shows anything but black.
// Takes: one image in pieces. Gives: its facts, or an `ImageFault`. Memory is bounded and the pixels are inflated off the main
// thread, so a picture of any size neither stalls the loop nor is held whole. Must not know JSON, base64 or jobs.
import { type FormatCheck, type ImageFacts, ImageFault } from "./image-format.ts";
import { JpegCheck } from "./jpeg-check.ts";
import { PngCheck } from "./png-check.ts";
import { WebpCheck } from "./webp-check.ts";

const sniffBytes = 12;

/** Checks an image of any known format: the first bytes tell which. */
export class ImageCheck {
  #head: Buffer = Buffer.alloc(0);
  #check: FormatCheck | undefined;

  async push(piece: Buffer): Promise<void> {
    if (this.#check) return await this.#check.push(piece);
    this.#head = Buffer.concat([this.#head, piece]);
    if (this.#head.length < sniffBytes) return;
    this.#check = sniff(this.#head);
    await this.#check.push(this.#head);
  }

  async end(): Promise<ImageFacts> {
    if (this.#check) return await this.#check.end();
    throw new ImageFault(this.#head.length === 0 ? "is empty" : `has only ${this.#head.length} bytes`);
  }

  close(): void {
    this.#check?.close();
  }
}

function sniff(head: Buffer): FormatCheck {
  if (head.readUInt32BE(0) === 0x89504e47) return new PngCheck();
  if (head[0] === 0xff && head[1] === 0xd8 && head[2] === 0xff) return new JpegCheck();
  if (head.toString("latin1", 0, 4) === "RIFF" && head.toString("latin1", 8, 12) === "WEBP") return new WebpCheck();
  throw new ImageFault(`is no PNG, JPEG or WebP file: it begins with ${JSON.stringify(head.toString("latin1", 0, sniffBytes))}`);
}
