import { type BackoffOptions, backoffMs } from "../../util/backoff.ts";
import { askRunpod, discard } from "./runpod-request.ts";

/** What one job-take came to. `pauseMs` before the next one; a failure says why. */
export type Take =
  | { readonly type: "jobs"; readonly text: string }
  | { readonly type: "none"; readonly pauseMs: number }
  | { readonly type: "failed"; readonly pauseMs: number; readonly message: string }
  /** There is no such endpoint (job-take-batch on an older platform). */
  | { readonly type: "unknown-endpoint" }
  | { readonly type: "aborted" };

/** A poll younger than this may have its answer on the way; cutting it would lose a job that was handed out. */
const youngMs = 500;
/** Once the answer's head is here the job is ours: its body is read to the end, in any case within this. */
const bodyLimitMs = 60_000;
/** An empty answer sooner than this was not held by the platform. */
const heldMs = 50;

const afterFailure: BackoffOptions = { firstMs: 500, factor: 2, maxMs: 15_000, jitter: 0.5 };
const afterRefusal: BackoffOptions = { firstMs: 5000, factor: 2, maxMs: 60_000, jitter: 0.2 };
const afterQuickNone: BackoffOptions = { firstMs: 100, factor: 2, maxMs: 2000, jitter: 0.5 };
/** FlashBoot's pauses answer 400 for a while; the SDK then asks hundreds of times a second. */
const afterPaused: BackoffOptions = { firstMs: 500, factor: 2, maxMs: 5000, jitter: 0.5 };

/** Asks for jobs, one request at a time, and knows how long to wait after each kind of answer. */
export class RunpodTaker {
  readonly #apiKey: string;
  readonly #pollMs: number;
  #failures = 0;
  #quick = 0;

  /** `pollMs`: a request is cut and made anew after this long without an answer. */
  constructor({ apiKey, pollMs }: { apiKey: string; pollMs: number }) {
    this.#apiKey = apiKey;
    this.#pollMs = pollMs;
  }

  async take(url: string, { signal, isBatch = false }: { signal: AbortSignal; isBatch?: boolean }): Promise<Take> {
    const sentAt = performance.now();
    using poll = pollSignal(signal, this.#pollMs);
    const answer = await askRunpod({ url, apiKey: this.#apiKey, headers: { "Content-Type": "application/json" } }, poll);
    if (answer.type === "aborted") return signal.aborted ? { type: "aborted" } : { type: "none", pauseMs: 0 };
    if (answer.type === "dropped") return this.#failed(`Cannot ask RunPod for a job: ${answer.reason}.`, afterFailure);
    const { response } = answer;
    poll.keep(bodyLimitMs);
    if (response.status === 200) return await this.#read(response);
    await discard(response);
    if (isBatch && [404, 405, 501].includes(response.status)) return { type: "unknown-endpoint" };
    switch (response.status) {
      case 204:
        this.#failures = 0;
        this.#quick = performance.now() - sentAt < heldMs ? this.#quick + 1 : 0;
        return { type: "none", pauseMs: this.#quick > 2 ? backoffMs(this.#quick - 2, afterQuickNone) : 0 };
      case 400:
        this.#quick += 1;
        return { type: "none", pauseMs: backoffMs(this.#quick, afterPaused) };
      case 429:
        return { type: "none", pauseMs: retryAfterMs(response) ?? 5000 };
      case 401:
      case 403:
        return this.#failed(`RunPod refuses this worker's key (${response.status}).`, afterRefusal);
      default:
        return this.#failed(`RunPod answered a request for a job with ${response.status}.`, afterFailure);
    }
  }

  /** The answer held a job. */
  succeeded(): void {
    this.#failures = 0;
    this.#quick = 0;
  }

  /** An answer that cannot be used counts as no job, but not as a reason to ask at once again. */
  failedToRead(): Take & { type: "failed" } {
    return this.#failed("RunPod's answer to a request for a job is not a job.", afterFailure);
  }

  async #read(response: Response): Promise<Take> {
    try {
      const text = await response.text();
      if (/^\s*[[{]/.test(text)) return { type: "jobs", text };
    } catch {
      return this.#failed("The connection to RunPod broke while a job was being read.", afterFailure);
    }
    return this.failedToRead();
  }

  #failed(message: string, backoff: BackoffOptions): Take & { type: "failed" } {
    this.#failures += 1;
    return { type: "failed", message, pauseMs: backoffMs(this.#failures, backoff) };
  }
}

/** Follows the outer abort only when the poll is old enough and unanswered; also ends at the poll's own limit. */
function pollSignal(outer: AbortSignal, pollMs: number): { readonly signal: AbortSignal; keep(limitMs: number): void; [Symbol.dispose](): void } {
  const controller = new AbortController();
  const sentAt = performance.now();
  let timer = setTimeout(() => controller.abort(), pollMs);
  const cut = (afterMs: number) => {
    clearTimeout(timer);
    timer = setTimeout(() => controller.abort(), afterMs);
  };
  const onAbort = () => cut(Math.max(0, sentAt + youngMs - performance.now()));
  outer.addEventListener("abort", onAbort, { once: true });
  const leave = () => {
    clearTimeout(timer);
    outer.removeEventListener("abort", onAbort);
  };
  return {
    signal: controller.signal,
    keep(limitMs) {
      leave();
      cut(limitMs);
    },
    [Symbol.dispose]: leave,
  };
}

export function retryAfterMs(response: Response): number | undefined {
  const seconds = Number(response.headers.get("retry-after") ?? Number.NaN);
  return Number.isFinite(seconds) && seconds >= 0 ? Math.min(seconds * 1000, 60_000) : undefined;
}
