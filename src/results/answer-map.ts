import { createHash } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { Base64Stream } from "./base64-stream.ts";
import { parseInfo, type AnswerInfo } from "./answer-info.ts";
import { JsonScan, JsonScanError, type JsonListener } from "./json-scan.ts";

/** Where an image stands in the answer's text: the string with its quotes, as byte offsets. */
export interface ImageSpan {
  readonly from: number;
  readonly end: number;
  /** It is written as `data:image/…;base64,…`. */
  readonly isDataUrl: boolean;
  /** Its bytes; only when they were asked for. */
  readonly file?: { readonly path: string; readonly sizeBytes: number; readonly sha256: string };
}

/** What is known of an answer without holding it. */
export interface AnswerMap {
  readonly spans: readonly ImageSpan[];
  readonly info: AnswerInfo;
  /** The raw JSON of `outputs`, `files`, `texts` and `errors` (ComfyUI), of `template`, `parameters` and `warnings` (the bundled engine). */
  readonly kept: ReadonlyMap<string, string>;
}

export interface MapOptions {
  readonly extractTo?: string;
  readonly watch?: "images" | "contents";
  readonly signal: AbortSignal;
}

const chunkBytes = 65_536;
/** `info` holds a line of parameters per image and some lists; a longer one is no engine's. */
const longestInfo = 1_048_576;

/**
 * Reads an answer once more, from its file and in small pieces: where its images are, its `info`, and with `extractTo` also the
 * images' bytes, each in a file of that folder. Undefined when it is no JSON object with an array of texts under `watch` ("images").
 */
export async function mapAnswer(path: string, { extractTo, watch = "images", signal }: MapOptions): Promise<AnswerMap | undefined> {
  const spans = new SpanListener(extractTo === undefined ? undefined : join(extractTo, watch));
  const scan = new JsonScan({
    watch,
    listener: spans,
    keep: ["info", "outputs", "files", "texts", "errors", "template", "parameters", "warnings"],
    keepBytes: longestInfo,
  });
  const file = await open(path, "r");
  try {
    const buffer = Buffer.allocUnsafeSlow(chunkBytes);
    for (;;) {
      signal.throwIfAborted();
      const { bytesRead } = await file.read(buffer, 0, chunkBytes);
      if (bytesRead === 0) break;
      scan.push(buffer.subarray(0, bytesRead));
      await spans.settle();
    }
    scan.end();
  } catch (error) {
    if (error instanceof JsonScanError) return undefined;
    throw error;
  } finally {
    await spans.close();
    await file.close();
  }
  return { spans: spans.spans, info: parseInfo(scan.kept.get("info")), kept: scan.kept };
}

type Step = { readonly type: "bytes"; readonly bytes: Buffer } | { readonly type: "end"; readonly span: ImageSpan };

/** Notes the spans as the scan finds them; writing is queued and done by `settle`, after each chunk. */
class SpanListener implements JsonListener {
  readonly spans: ImageSpan[] = [];
  /** The beginning of the files' names. */
  readonly #extractTo: string | undefined;
  readonly #steps: Step[] = [];
  #from = 0;
  #head = "";
  #base64 = new Base64Stream();
  #writing: { readonly path: string; readonly file: FileHandle; sizeBytes: number } | undefined;
  #hash = createHash("sha256");

  constructor(extractTo: string | undefined) {
    this.#extractTo = extractTo;
  }

  onString(_index: number, at: number): void {
    this.#from = at;
    this.#head = "";
    this.#base64 = new Base64Stream();
  }

  onPiece(piece: Buffer): void {
    if (this.#head.length < 5) this.#head += piece.toString("latin1", 0, 5);
    if (this.#extractTo !== undefined) this.#steps.push({ type: "bytes", bytes: this.#base64.push(piece) });
  }

  onStringEnd(end: number): void {
    if (this.#extractTo !== undefined) this.#steps.push({ type: "bytes", bytes: this.#base64.end() });
    this.#steps.push({ type: "end", span: { from: this.#from, end, isDataUrl: this.#head.startsWith("data:") } });
  }

  async settle(): Promise<void> {
    for (const step of this.#steps.splice(0)) {
      if (step.type === "bytes") await this.#write(step.bytes);
      else this.spans.push({ ...step.span, ...(await this.#finish()) });
    }
  }

  async close(): Promise<void> {
    await this.#writing?.file.close();
    this.#writing = undefined;
  }

  async #write(bytes: Buffer): Promise<void> {
    if (this.#extractTo === undefined) return;
    if (!this.#writing) {
      const path = `${this.#extractTo}-${this.spans.length}`;
      this.#writing = { path, file: await open(path, "w"), sizeBytes: 0 };
      this.#hash = createHash("sha256");
    }
    this.#hash.update(bytes);
    this.#writing.sizeBytes += bytes.length;
    for (let at = 0; at < bytes.length;) at += (await this.#writing.file.write(bytes, at)).bytesWritten;
  }

  async #finish(): Promise<Pick<ImageSpan, "file">> {
    const writing = this.#writing;
    this.#writing = undefined;
    if (!writing) return {};
    await writing.file.close();
    return { file: { path: writing.path, sizeBytes: writing.sizeBytes, sha256: this.#hash.digest("hex") } };
  }
}
