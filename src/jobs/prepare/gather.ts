import { pause } from "../../util/pause.ts";
import { type Download, download, type DownloadLimits } from "./download.ts";
import { type ImageSlot, isUrl, replaceAt } from "./image-slots.ts";
import { type ImageHeader, headerBytes, readImageHeader } from "./image-header.ts";
import { type ImageText, pixelFault, readImageText } from "./image-text.ts";
import { type Body, invalid, type Invalid } from "./invalid.ts";

export interface GatherLimits extends DownloadLimits {
  /** False: a job may bring images, not name them. */
  readonly urls: boolean;
  readonly maxFiles: number;
  readonly maxPixels: number;
  /** All fetched bytes of a job together. */
  readonly maxTotalBytes: number;
}

export interface Gathered {
  readonly type: "gathered";
  readonly body: Body;
  /** By the slot's path. */
  readonly headers: ReadonlyMap<string, ImageHeader>;
}

const atOnce = 4;
const tries = 2;
const againAfterMs = 500;

/** Brings a job's images into its body: URLs are fetched, what came as text is looked at. The first fault ends it all. */
export async function gatherImages(
  body: Body,
  slots: readonly ImageSlot[],
  limits: GatherLimits,
  { signal }: { signal: AbortSignal },
): Promise<Gathered | Invalid> {
  const urls = new Map<string, ImageSlot>();
  for (const slot of slots) if (isUrl(slot.text) && !urls.has(slot.text)) urls.set(slot.text, slot);
  const [first] = urls.values();
  if (first && !limits.urls) return invalid(first.path, "URLs are not allowed here (jobs.inputs.urls); send the image itself as base64");
  if (first && urls.size > limits.maxFiles)
    return invalid(first.path, `the job names ${urls.size} files, ${limits.maxFiles} are allowed (jobs.inputs.maxFiles)`);
  const fetched = await fetchAll([...urls.values()], limits, signal);
  if (!(fetched instanceof Map)) return fetched;
  const headers = new Map<string, ImageHeader>();
  const changes: { keys: ImageSlot["keys"]; value: string }[] = [];
  for (const { keys, path, text } of slots) {
    const image = fetched.get(text) ?? (await readImageText(text, limits));
    if (image.type === "none") return invalid(path, image.reason);
    headers.set(path, image.header);
    if (image.text !== text) changes.push({ keys, value: image.text });
  }
  return { type: "gathered", body: changes.length > 0 ? replaceAt(body, changes) : body, headers };
}

type Image = Extract<ImageText, { type: "image" }>;
type Fetched = Map<string, Image>;

async function fetchAll(slots: readonly ImageSlot[], limits: GatherLimits, signal: AbortSignal): Promise<Fetched | Invalid> {
  const results: Fetched = new Map();
  const enough = new AbortController();
  const either = AbortSignal.any([signal, enough.signal]);
  const waiting = [...slots];
  let fault: Invalid | undefined;
  let totalBytes = 0;
  const work = async () => {
    for (let slot = waiting.shift(); slot && !fault; slot = waiting.shift()) {
      const image = await fetchOne(slot, limits, either);
      totalBytes += image.type === "image" ? image.sizeBytes : 0;
      if (totalBytes > limits.maxTotalBytes)
        fault ??= invalid(slot.path, `the job's files together are larger than ${limits.maxTotalBytes} bytes (jobs.maxInput)`);
      else if (image.type === "invalid") fault ??= image;
      else results.set(slot.text, image);
      // The others of this job are for nothing now.
      if (fault) enough.abort();
    }
  };
  const all = await Promise.allSettled(Array.from({ length: Math.min(atOnce, slots.length) }, work));
  signal.throwIfAborted();
  if (fault) return fault;
  const broken = all.find((one) => one.status === "rejected");
  if (broken) throw broken.reason;
  return results;
}

async function fetchOne(slot: ImageSlot, limits: GatherLimits, signal: AbortSignal): Promise<(Image & { readonly sizeBytes: number }) | Invalid> {
  let result: Download = { type: "failed", reason: "", passing: true };
  for (let number = 1; number <= tries && result.type === "failed" && result.passing; number++) {
    if (number > 1) await pause(againAfterMs, { signal });
    result = await download(slot.text, limits, { signal });
  }
  if (result.type === "failed") return invalid(slot.path, `cannot be fetched: ${result.reason}`, result.passing ? "job.input-unreachable" : "job.invalid");
  const { bytes } = result;
  const header = readImageHeader(bytes.subarray(0, headerBytes)) ?? readImageHeader(bytes);
  if (!header) return invalid(slot.path, "what its URL leads to is no image (PNG, JPEG, WebP, GIF, BMP, AVIF or TIFF), or a damaged one");
  const tooLarge = pixelFault(header, limits);
  if (tooLarge !== undefined) return invalid(slot.path, tooLarge);
  return { type: "image", text: bytes.toString("base64"), header, sizeBytes: bytes.length };
}
