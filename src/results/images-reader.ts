import { createWriteStream, type WriteStream } from "node:fs";
import { rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { finished } from "node:stream/promises";
import type { AnswerImage } from "../engines/engine.ts";
import { Base64Stream } from "./base64-stream.ts";
import { ImageCheck } from "./image/image-check.ts";
import { ImageFault } from "./image/image-format.ts";
import type { JsonListener } from "./json-scan.ts";

export interface CheckedImage extends AnswerImage {
  readonly isBlack: boolean | undefined;
}

type Step = { readonly type: "begin" } | { readonly type: "bytes"; readonly bytes: Buffer } | { readonly type: "end" };

/** More images than this is no answer; A1111 makes at most 100 batches of 8. */
const mostImages = 4096;

/**
 * Follows the strings that the scan hands out: decodes, checks and (when told) keeps each image. The scan calls
 * synchronously; what takes time is queued and done by `settle`, which the reader awaits after each slice.
 */
export class ImagesReader implements JsonListener {
  readonly images: CheckedImage[] = [];
  /** The image read last, for messages. */
  index = 0;
  readonly #keepIn: string | undefined;
  readonly #steps: Step[] = [];
  #base64 = new Base64Stream();
  #check: ImageCheck | undefined;
  #kept: { readonly path: string; readonly stream: WriteStream } | undefined;
  #sizeBytes = 0;

  constructor({ keepIn }: { keepIn?: string } = {}) {
    this.#keepIn = keepIn;
  }

  onString(index: number): void {
    if (index >= mostImages) throw new ImageFault(`is one too many, ${mostImages} are allowed`);
    this.#base64 = new Base64Stream();
    this.#steps.push({ type: "begin" });
  }

  onPiece(piece: Buffer): void {
    const bytes = this.#base64.push(piece);
    if (bytes.length > 0) this.#steps.push({ type: "bytes", bytes });
  }

  onStringEnd(): void {
    this.#steps.push({ type: "bytes", bytes: this.#base64.end() }, { type: "end" });
  }

  /** Does what was queued; throws the `ImageFault` of a bad image. */
  async settle(): Promise<void> {
    for (const step of this.#steps.splice(0)) {
      if (step.type === "begin") this.#begin();
      else if (step.type === "bytes") await this.#bytes(step.bytes);
      else await this.#end();
    }
  }

  async close(): Promise<void> {
    this.#check?.close();
    this.#check = undefined;
    const kept = this.#kept;
    this.#kept = undefined;
    if (!kept) return;
    kept.stream.destroy();
    await rm(kept.path, { force: true });
  }

  /** Removes the kept files of an answer that is not wanted. */
  async remove(): Promise<void> {
    for (const { path } of this.images) if (path) await rm(path, { force: true });
  }

  #begin(): void {
    this.index = this.images.length;
    this.#sizeBytes = 0;
    this.#check = new ImageCheck();
    if (!this.#keepIn) return;
    const path = join(this.#keepIn, `image-${this.index}.part`);
    const stream = createWriteStream(path);
    // The error itself is raised where the stream is awaited.
    stream.on("error", () => {});
    this.#kept = { path, stream };
  }

  async #bytes(bytes: Buffer): Promise<void> {
    this.#sizeBytes += bytes.length;
    const kept = this.#kept;
    const written =
      kept && bytes.length > 0 ? new Promise<void>((resolve, reject) => kept.stream.write(bytes, (error) => (error ? reject(error) : resolve()))) : undefined;
    written?.catch(() => {});
    await this.#check?.push(bytes);
    await written;
  }

  async #end(): Promise<void> {
    if (!this.#check) return;
    const { extension, ...facts } = await this.#check.end();
    this.#check = undefined;
    const kept = this.#kept;
    this.#kept = undefined;
    const image = { index: this.index, sizeBytes: this.#sizeBytes, ...facts };
    if (!kept || !this.#keepIn) return void this.images.push(image);
    kept.stream.end();
    await finished(kept.stream);
    const path = join(this.#keepIn, `image-${this.index}.${extension}`);
    await rename(kept.path, path);
    this.images.push({ ...image, path });
  }
}
