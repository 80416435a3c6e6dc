import { openAsBlob } from "node:fs";
import { type BackoffOptions, backoffMs } from "../../util/backoff.ts";
import { pause } from "../../util/pause.ts";
import type { Delivery } from "../source.ts";
import type { TerminalResult } from "../terminal-result.ts";
import { askRunpod, discard, limitedSignal } from "./runpod-request.ts";
import { retryAfterMs } from "./runpod-take.ts";
import { encode } from "./runpod-url.ts";

export interface PostOptions {
  readonly apiKey: string;
  readonly signal: AbortSignal;
  readonly onRetry: (message: string, pauseMs: number) => void;
}

/** Tried for so long in one life; then the result waits in the journal for the next. RunPod keeps a job a day by default. */
const giveUpAfterMs = 15 * 60_000;
const backoff: BackoffOptions = { firstMs: 250, factor: 2, maxMs: 15_000, jitter: 0.3 };
/** A client error that is no question of size or time is believed after so many tries: the job is unknown there. */
const maxRefusals = 5;
/** RunPod answers 400 to bodies over its limit (seen from about 19 MB); a small one was refused for another reason. */
const suspectBytes = 1_000_000;
const slowestBytesPerMs = 100;

/** Posts the result until the platform has it. The body is streamed from its file with a known length. */
export async function postResult(url: string, result: TerminalResult, { apiKey, signal, onRetry }: PostOptions): Promise<Delivery> {
  // The SDK's own headers; the body is JSON in spite of its content type.
  const headers = { "Content-Type": "application/x-www-form-urlencoded", charset: "utf-8", "X-Request-ID": headerText(result.jobId) };
  const giveUpAt = performance.now() + giveUpAfterMs;
  let refusals = 0;
  for (let tries = 1; ; tries++) {
    const body = await openAsBlob(result.bodyPath);
    using limit = limitedSignal(signal, 60_000 + result.sizeBytes / slowestBytesPerMs);
    const answer = await askRunpod({ url, method: "POST", apiKey, headers, body }, limit);
    let reason = "it did not answer in time";
    let wish: number | undefined;
    if (answer.type === "dropped") reason = answer.reason;
    else if (answer.type === "answered") {
      const { response } = answer;
      await discard(response);
      if (response.status < 400) return { type: "delivered" };
      reason = `it answered ${response.status}`;
      wish = retryAfterMs(response);
      if (isTooLarge(response.status, result.sizeBytes)) {
        return {
          type: "refused",
          message: `Cannot deliver the result: it has ${result.sizeBytes} bytes and RunPod answered ${response.status}; its limit is about 10 to 20 MB.`,
        };
      }
      if (isRefusal(response.status) && ++refusals >= maxRefusals)
        return { type: "undelivered", message: `RunPod refuses the result of ${result.jobId}: ${reason}.` };
    }
    const message = `Cannot deliver the result of ${result.jobId} to RunPod: ${reason}.`;
    if (signal.aborted || performance.now() > giveUpAt) return { type: "undelivered", message };
    const pauseMs = Math.max(wish ?? 0, backoffMs(tries, backoff));
    onRetry(message, pauseMs);
    await pause(pauseMs, { signal });
    if (signal.aborted) return { type: "undelivered", message };
  }
}

/** A header cannot hold every id; one that it cannot hold would keep the result from ever being sent. */
function headerText(id: string): string {
  return /^[\u0020-\u007e]*$/.test(id) ? id : encode(id);
}

function isTooLarge(status: number, sizeBytes: number): boolean {
  return status === 413 || (status === 400 && sizeBytes > suspectBytes);
}

function isRefusal(status: number): boolean {
  return status >= 400 && status < 500 && status !== 408 && status !== 425 && status !== 429;
}
