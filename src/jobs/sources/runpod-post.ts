import { openAsBlob } from "node:fs";
import { type BackoffOptions, backoffMs } from "../../util/backoff.ts";
import { pause } from "../../util/pause.ts";
import type { Delivery } from "../source.ts";
import type { TerminalResult } from "../terminal-result.ts";
import { wireId } from "./runpod-id.ts";
import { askRunpod, discard, limitedSignal } from "./runpod-request.ts";
import { retryAfterMs } from "./runpod-take.ts";
import { encode } from "./runpod-url.ts";

export interface PostOptions {
  readonly apiKey: string;
  /** An answer is awaited for so long, plus what the body itself may take. */
  readonly answerMs: number;
  readonly signal: AbortSignal;
}

export interface RetryOptions extends PostOptions {
  readonly onRetry: (message: string, pauseMs: number) => void;
}

export type PostEnd =
  | { readonly type: "taken" }
  | { readonly type: "failed"; readonly reason: string; readonly status?: number; readonly wishMs?: number | undefined };

/** Tried for so long in one life; then the result waits in the journal for the next. RunPod keeps a job a day by default. */
const giveUpAfterMs = 15 * 60_000;
const backoff: BackoffOptions = { firstMs: 250, factor: 2, maxMs: 15_000, jitter: 0.3 };
/** A client error that is no question of size or time is believed after so many tries: the job is unknown there. */
const maxRefusals = 5;
/** RunPod answers 400 to bodies over its limit (seen from about 19 MB); a small one was refused for another reason. */
const suspectBytes = 1_000_000;
/** Nothing under this is too large, whatever a gateway says; it is what a result is replaced by. */
const neverTooLargeBytes = 16_384;
const slowestBytesPerMs = 100;
const longestHeader = 512;

/** One try. The headers are the SDK's own; the body is JSON in spite of its content type. */
export async function postOnce(url: string, jobId: string, body: Blob, { apiKey, answerMs, signal }: PostOptions): Promise<PostEnd> {
  const headers = { "Content-Type": "application/x-www-form-urlencoded", charset: "utf-8", ...requestId(jobId) };
  using limit = limitedSignal(signal, answerMs + body.size / slowestBytesPerMs);
  const answer = await askRunpod({ url, method: "POST", apiKey, headers, body }, limit);
  if (answer.type === "aborted") return { type: "failed", reason: "it did not answer in time" };
  if (answer.type === "dropped") return { type: "failed", reason: answer.reason };
  const { response } = answer;
  await discard(response);
  if (response.status < 400) return { type: "taken" };
  return { type: "failed", reason: `it answered ${response.status}`, status: response.status, wishMs: retryAfterMs(response) };
}

/** Posts the result until the platform has it. The body is streamed from its file with a known length. */
export async function postResult(url: string, result: TerminalResult, options: RetryOptions): Promise<Delivery> {
  const { signal, onRetry } = options;
  const giveUpAt = performance.now() + giveUpAfterMs;
  let refusals = 0;
  for (let tries = 1; ; tries++) {
    const end = await postOnce(url, result.jobId, await openAsBlob(result.bodyPath), options);
    if (end.type === "taken") return { type: "delivered" };
    const { reason, status, wishMs } = end;
    if (status !== undefined && isTooLarge(status, result.sizeBytes)) {
      return {
        type: "refused",
        message: `Cannot deliver the result: it has ${result.sizeBytes} bytes and RunPod answered ${status}; its limit is about 10 to 20 MB.`,
      };
    }
    const message = `Cannot deliver the result of ${result.jobId} to RunPod: ${reason}.`;
    if (status !== undefined && isRefusal(status) && ++refusals >= maxRefusals) return { type: "undelivered", message };
    if (signal.aborted || performance.now() > giveUpAt) return { type: "undelivered", message };
    const pauseMs = Math.max(wishMs ?? 0, backoffMs(tries, backoff));
    onRetry(message, pauseMs);
    await pause(pauseMs, { signal });
    if (signal.aborted) return { type: "undelivered", message };
  }
}

/** A header cannot hold every id; one that it cannot hold would keep the result from ever being sent. */
function requestId(jobId: string): Readonly<Record<string, string>> {
  const id = wireId(jobId);
  const text = /^[\u0020-\u007e]*$/.test(id) ? id : encode(id);
  return text.length > longestHeader ? {} : { "X-Request-ID": text };
}

function isTooLarge(status: number, sizeBytes: number): boolean {
  return (status === 413 && sizeBytes > neverTooLargeBytes) || (status === 400 && sizeBytes > suspectBytes);
}

export function isRefusal(status: number): boolean {
  return status >= 400 && status < 500 && status !== 408 && status !== 425 && status !== 429;
}
