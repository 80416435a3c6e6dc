import { backoffMs } from "../../util/backoff.ts";
import { pause } from "../../util/pause.ts";
import { isRefusal, type PostOptions, postOnce } from "./runpod-post.ts";

/** RunPod takes 1 MB a piece and splits larger ones; text is cut here, where no character is torn. */
const maxBytes = 1_000_000;
/** No character takes more than 6 bytes in JSON. */
const cutLength = 160_000;
const giveUpAfterMs = 2 * 60_000;
const backoff = { firstMs: 250, factor: 2, maxMs: 5000, jitter: 0.3 };

/** Sends a piece of the output on; undefined when the platform has it, else why it never got it. */
export async function postPiece(url: string, jobId: string, value: unknown, options: PostOptions): Promise<string | undefined> {
  for (const part of partsOf(value)) {
    const reason = await postPart(url, jobId, new Blob([JSON.stringify({ output: part ?? null })]), options);
    if (reason !== undefined) return reason;
  }
  return undefined;
}

async function postPart(url: string, jobId: string, body: Blob, options: PostOptions): Promise<string | undefined> {
  const { signal } = options;
  const giveUpAt = performance.now() + giveUpAfterMs;
  for (let tries = 1; ; tries++) {
    const end = await postOnce(url, jobId, body, options);
    if (end.type === "taken") return undefined;
    if (signal.aborted || performance.now() > giveUpAt || (end.status !== undefined && isRefusal(end.status))) return end.reason;
    await pause(Math.max(end.wishMs ?? 0, backoffMs(tries, backoff)), { signal });
  }
}

/** Text over the limit in pieces that join to the same text; anything else as it is. */
export function partsOf(value: unknown): readonly unknown[] {
  if (typeof value !== "string" || value.length * 6 <= maxBytes) return [value];
  const parts: string[] = [];
  for (let at = 0; at < value.length;) {
    let end = Math.min(value.length, at + cutLength);
    const last = value.charCodeAt(end - 1);
    if (end < value.length && last >= 0xd800 && last <= 0xdbff) end -= 1;
    parts.push(value.slice(at, end));
    at = end;
  }
  return parts;
}
