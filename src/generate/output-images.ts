import { FettleError, reasonOf } from "../errors/fettle-error.ts";
import { isObject } from "../jobs/envelope.ts";
import { pause } from "../util/pause.ts";

const tries = 3;
const againMs = 1000;
const downloadMs = 300_000;
const mostBytes = 512 * 1024 * 1024;

/**
 * An instance's output as an answer in A1111's shape. Workers write their images in several ways (seen in the public ones): a list
 * `images` of base64, data URIs or URLs; objects with `data`, `url` or `image`; a single `image`, `image_url` or `message`; or just a
 * list. URLs are downloaded, without the key of the job API.
 */
export async function asAnswer(output: unknown, { signal }: { signal: AbortSignal }): Promise<Record<string, unknown>> {
  const found = imagesOf(output);
  const images: string[] = [];
  for (const [index, text] of found.entries()) {
    if (/^https?:\/\//i.test(text)) images.push(await download(text, index, signal));
    else images.push(/\s/.test(text) ? text.replace(/\s+/g, "") : text);
  }
  return { ...(isObject(output) && output), images };
}

function imagesOf(output: unknown): string[] {
  if (Array.isArray(output)) return output.flatMap((one) => imagesOf(one));
  if (typeof output === "string") return [output];
  if (!isObject(output)) return [];
  if (Array.isArray(output["images"])) return output["images"].flatMap((one) => imagesOf(one));
  for (const name of ["data", "url", "image", "image_url", "base64", "message"]) {
    const value = output[name];
    if (typeof value === "string" && value !== "") return [value];
  }
  return [];
}

async function download(text: string, index: number, signal: AbortSignal): Promise<string> {
  // A presigned URL's query is a key; it is in no message.
  const { origin, pathname } = new URL(text);
  const failed = (reason: string, cause?: unknown) =>
    new FettleError("source.unreachable", `Cannot download image ${index} from ${origin}${pathname}: ${reason}.`, {
      hint: "The job is done and its image lies there; can this machine reach that address, and has the link expired?",
      cause,
    });
  for (let count = 1; ; count++) {
    try {
      const response = await fetch(text, { signal: AbortSignal.any([signal, AbortSignal.timeout(downloadMs)]) });
      if (response.ok) return Buffer.concat(await readAll(response, failed)).toString("base64");
      await response.body?.cancel();
      if (count >= tries || (response.status < 500 && response.status !== 429)) throw failed(`HTTP ${response.status}`);
    } catch (error) {
      if (error instanceof FettleError) throw error;
      signal.throwIfAborted();
      if (count >= tries) throw failed(reasonOf(error), error);
    }
    await pause(againMs * count, { signal });
    signal.throwIfAborted();
  }
}

async function readAll(response: Response, failed: (reason: string) => FettleError): Promise<Uint8Array[]> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of response.body ?? []) {
    sizeBytes += chunk.byteLength;
    if (sizeBytes > mostBytes) throw failed(`it has more than ${mostBytes} bytes`);
    chunks.push(chunk);
  }
  return chunks;
}
