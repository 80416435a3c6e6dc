// results/ owns what becomes of an engine's answer: read as a stream, spooled, its images checked, then handed to sinks.
// Takes: the bytes of one answer (`AnswerReader`, passed to a connection by the worker). Gives: an `EngineOutput` or why not.
// Memory stays flat whatever the answer's size, and no piece of work holds the loop for more than a few milliseconds.
// Must not know HTTP, sources or the journal. The terminal body is sealed in jobs/seal.ts.
import { createHash } from "node:crypto";
import { type FileHandle, open, rm } from "node:fs/promises";
import { join } from "node:path";
import type { AnswerReader, AnswerVerdict, Attempt } from "../engines/engine.ts";
import { ImageFault } from "./image/image-format.ts";
import { ImagesReader } from "./images-reader.ts";
import { JsonScan, JsonScanError } from "./json-scan.ts";

export interface AnswerReaderOptions {
  /** What an all-black picture means: the job fails, fails after one more try where the engine knows a better one, a warning, or nothing. */
  readonly blackImages: "fail" | "retry" | "warn" | "off";
  /** Also write each decoded image into `attempt.dir`, for a sink that wants files. Default false: the answer holds them already. */
  readonly keepImages?: boolean;
  /** Default 2 GiB; a larger answer is refused. */
  readonly maxBytes?: number;
}

/** Small enough that scanning, decoding and hashing a slice takes well under a millisecond. */
const sliceBytes = 65_536;

/** Begins an answer: the file `answer.json` in the attempt's folder, written as the bytes come. */
export async function createAnswerReader(attempt: Pick<Attempt, "dir" | "input" | "answersImages">, options: AnswerReaderOptions): Promise<AnswerReader> {
  const path = join(attempt.dir, "answer.json");
  const file = await open(path, "w");
  return new SpoolingReader(path, file, attempt, options);
}

/** No engine writes such a key: nothing is looked for. */
const noKey = "\0";

type Bad = Extract<AnswerVerdict, { type: "bad" }>;

class SpoolingReader implements AnswerReader {
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #options: AnswerReaderOptions;
  readonly #hash = createHash("sha256");
  readonly #images: ImagesReader;
  readonly #scan: JsonScan;
  readonly #hasImages: boolean;
  readonly #mayBeEmpty: boolean;
  #sizeBytes = 0;
  #bad: Bad | undefined;
  #closed = false;

  constructor(path: string, file: FileHandle, attempt: Pick<Attempt, "dir" | "input" | "answersImages">, options: AnswerReaderOptions) {
    this.#path = path;
    this.#file = file;
    this.#options = options;
    this.#images = new ImagesReader(options.keepImages ? { keepIn: attempt.dir } : {});
    this.#hasImages = attempt.answersImages !== false;
    this.#scan = new JsonScan({ watch: this.#hasImages ? "images" : noKey, listener: this.#images, anyTop: !this.#hasImages });
    this.#mayBeEmpty = !this.#hasImages || attempt.input["send_images"] === false;
  }

  async write(chunk: Uint8Array): Promise<boolean> {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    for (let at = 0; at < bytes.length && !this.#bad; at += sliceBytes) await this.#slice(bytes.subarray(at, at + sliceBytes));
    return !this.#bad;
  }

  async #slice(bytes: Buffer): Promise<void> {
    const maxBytes = this.#options.maxBytes ?? 2 ** 31;
    this.#sizeBytes += bytes.length;
    if (this.#sizeBytes > maxBytes) {
      this.#bad = bad("engine.bad-answer", `Cannot use the engine's answer: it is larger than ${maxBytes} bytes.`);
      return;
    }
    const spooled = writeAll(this.#file, bytes);
    // Started before the scan so that disk, zlib's threads and this one work side by side; awaited below in any case.
    spooled.catch(() => {});
    try {
      this.#scan.push(bytes);
      await this.#images.settle();
    } catch (error) {
      this.#bad = verdictOn(error, this.#images.index);
    }
    await spooled;
    this.#hash.update(bytes);
  }

  async end(): Promise<AnswerVerdict> {
    try {
      return this.#bad ?? (await this.#judge());
    } catch (error) {
      return verdictOn(error, this.#images.index);
    } finally {
      await this.#close();
    }
  }

  async #judge(): Promise<AnswerVerdict> {
    this.#scan.end();
    const images = this.#images.images;
    if (this.#hasImages && this.#scan.watched === undefined) return bad("engine.bad-answer", 'Cannot use the engine\'s answer: it has no "images".');
    if (images.length === 0 && !this.#mayBeEmpty) return bad("engine.bad-answer", "Cannot use the engine's answer: it holds no image.");
    const black = images.filter((image) => image.isBlack).map(({ index }) => index);
    const says = `image ${black.join(", ")} ${black.length > 1 ? "are" : "is"} all black`;
    const { blackImages } = this.#options;
    if (black.length > 0 && (blackImages === "fail" || blackImages === "retry"))
      return bad("result.bad-image", `Cannot use the engine's answer: ${says}.`, { images: black, ...(blackImages === "retry" && { retry: "float32-vae" }) });
    const answer = { path: this.#path, mime: "application/json", sizeBytes: this.#sizeBytes, sha256: this.#hash.digest("hex") };
    const warnings = black.length > 0 && blackImages === "warn" ? [`The engine's answer: ${says}.`] : [];
    return { type: "good", output: { answer, images, warnings } };
  }

  async discard(): Promise<void> {
    if (this.#closed) return;
    await this.#close();
    await rm(this.#path, { force: true });
    await this.#images.remove();
  }

  async #close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#images.close();
    await this.#file.close();
  }
}

async function writeAll(file: FileHandle, bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.length;) at += (await file.write(bytes, at)).bytesWritten;
}

function bad(code: Bad["code"], message: string, details?: Bad["details"]): Bad {
  return details ? { type: "bad", code, message, details } : { type: "bad", code, message };
}

function verdictOn(error: unknown, index: number): Bad {
  if (error instanceof JsonScanError) return bad("engine.bad-answer", `Cannot use the engine's answer: it ${error.message}.`);
  if (error instanceof ImageFault)
    return bad("result.bad-image", `Cannot use the engine's answer: image ${index} ${error.message}.`, { image: index, reason: error.message });
  throw error;
}
