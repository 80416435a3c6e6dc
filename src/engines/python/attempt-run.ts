import type { IncomingMessage } from "node:http";
import { reasonOf } from "../../errors/fettle-error.ts";
import { backoffMs } from "../../util/backoff.ts";
import { pause } from "../../util/pause.ts";
import type { Attempt, AttemptResult, ConnectOptions, EngineFailureCode, EngineOutput, RunOptions } from "../engine.ts";
import { FrameFault, type LastFrame, readFrames } from "./answer-frames.ts";
import { failureOf } from "./failure-of.ts";
import { fractionOf } from "./fraction.ts";
import { askMs, NotReached, order, post } from "./post.ts";
import { spool } from "./spool.ts";

export interface AttemptRunOptions {
  /** Without a slash at its end. */
  readonly url: string;
  readonly options: ConnectOptions;
  readonly attempt: Attempt;
  readonly run: RunOptions;
  readonly onSlots: (slots: number) => void;
}

type Exchange = { readonly type: "result"; readonly result: AttemptResult } | { readonly type: "again"; readonly reason: string };

const cap = { factor: 2, maxMs: 10_000, jitter: 0 };
const cancelAgain = { firstMs: 50, factor: 2, maxMs: 1000, jitter: 0 };
const usualLetGoMs = 20_000;

/**
 * One attempt of a job on a handler.
 *
 *   sending ──► streaming (progress, pieces) ──► done | failed | engine.lost
 *      │  ▲ refused: nothing has begun             │
 *      │  └── pause                                └──► cancel or timeout ──► it let go ──► cancelled | engine.timeout
 *      └──► engine.unreachable                                └──► it did not: the process must be restarted
 */
export class AttemptRun {
  readonly #on: AttemptRunOptions;
  #pieces = 0;
  #fraction = 0;

  constructor(options: AttemptRunOptions) {
    this.#on = options;
  }

  async result(signal: AbortSignal): Promise<AttemptResult> {
    const { retry } = this.#on.options;
    for (let tries = 1; ; tries++) {
      if (signal.aborted) return { type: "cancelled" };
      const exchange = await this.#once(signal);
      if (exchange.type === "result") return exchange.result;
      if (tries >= retry.tries) return failed("engine.unreachable", `the handler's process ${exchange.reason}, ${tries} times`, true);
      await pause(backoffMs(tries, { ...cap, firstMs: retry.backoffMs }), { signal });
    }
  }

  /** One request, ended by its answer, by the timeout or by a cancel. */
  async #once(signal: AbortSignal): Promise<Exchange> {
    const { url, options, attempt } = this.#on;
    const hangUp = new AbortController();
    const over = new AbortController();
    const exchange = this.#exchange(hangUp.signal);
    try {
      const first = await Promise.race([exchange, firstOf(signal, options.timeoutMs, over.signal)]);
      if (typeof first !== "string") return signal.aborted && first.type === "again" ? { type: "result", result: { type: "cancelled" } } : first;
      const letGo = await this.#interrupt(url, attempt.id, exchange);
      hangUp.abort();
      await exchange;
      if (first === "cancel") return { type: "result", result: { type: "cancelled", ...(!letGo && { remedy: "restart" as const }) } };
      const still = letGo ? "" : "; it did not react to the cancel either";
      const late = failed("engine.timeout", `the handler took longer than ${options.timeoutMs} ms${still}`, false, { timeoutMs: options.timeoutMs });
      return { type: "result", result: { ...late, ...(!letGo && { remedy: "restart" as const }) } };
    } finally {
      over.abort();
    }
  }

  /** Asks the child to end the job; false when it has not by then. Asked again, because a cancel may overtake the job it is for. */
  async #interrupt(url: string, attempt: string, ended: Promise<unknown>): Promise<boolean> {
    const over = new AbortController();
    const letGoMs = this.#on.options.letGoMs ?? usualLetGoMs;
    const asked = askUntilOver(url, attempt, over.signal);
    const done = ended.then(
      () => true,
      () => true,
    );
    const letGo = await Promise.race([done, pause(letGoMs, { signal: over.signal }).then(() => false)]);
    over.abort();
    await asked;
    return letGo;
  }

  async #exchange(hangUp: AbortSignal): Promise<Exchange> {
    const { url, attempt } = this.#on;
    const startedMs = performance.now();
    try {
      const job = { ...attempt.extra, id: attempt.jobId, input: attempt.input };
      const response = await post(`${url}/run`, { attempt: attempt.id, job }, { signal: hangUp });
      if (response.statusCode === 503 || response.statusCode === 409) {
        response.destroy();
        return { type: "again", reason: response.statusCode === 409 ? "is stopping, or still has this attempt" : "is not ready" };
      }
      if (response.statusCode !== 200) {
        response.destroy();
        return { type: "result", result: failed("engine.bad-answer", `the handler's process answered with HTTP ${response.statusCode}`, false) };
      }
      this.#on.onSlots(Number(response.headers["x-fettle-slots"]));
      if (response.headers["x-fettle-stream"] === "true") this.#on.run.onStream?.();
      return { type: "result", result: await this.#follow(response, startedMs) };
    } catch (error) {
      if (hangUp.aborted) return { type: "result", result: { type: "cancelled" } };
      if (error instanceof NotReached) return { type: "again", reason: `cannot be reached (${error.message})` };
      if (error instanceof FrameFault)
        return { type: "result", result: failed("engine.bad-answer", `the handler's answer cannot be read: ${error.message}`, false) };
      return { type: "result", result: this.#lost(reasonOf(error)) };
    }
  }

  /** Reads the answer to its end. */
  async #follow(response: IncomingMessage, startedMs: number): Promise<AttemptResult> {
    const { options, attempt, run } = this.#on;
    const frames = readFrames(response as AsyncIterable<Uint8Array>);
    try {
      for (;;) {
        const next = await frames.next();
        if (next.done) return this.#lost("its answer broke off");
        const frame = next.value;
        if (frame.type === "progress") this.#tell(frame.value);
        else if (frame.type === "slots") this.#on.onSlots(frame.value);
        else if (frame.type === "partial") {
          this.#pieces += 1;
          run.onActivity?.();
          await run.onPartial?.(frame.value);
        } else if (frame.type !== "bytes") {
          const spooled = await spool(frames, {
            sizeBytes: frame.sizeBytes,
            dir: attempt.dir,
            openReader: () => options.readAnswer({ ...attempt, answersImages: false }),
            onActivity: () => run.onActivity?.(),
          });
          if (spooled.type === "broken") return this.#lost(spooled.reason);
          if (spooled.type === "failed") return spooled.result;
          return this.#conclude(frame, spooled.output, performance.now() - startedMs);
        }
      }
    } finally {
      response.destroy();
    }
  }

  #conclude(frame: LastFrame, output: EngineOutput, engineMs: number): AttemptResult {
    if (frame.type === "result") return { type: "done", output: frame.refresh ? { ...output, wantsRefresh: true } : output, engineMs };
    if (frame.type === "error") return failureOf(frame, output, this.#pieces);
    // Cancelled by nobody of ours: the child is being stopped, or was told to by somebody else.
    return this.#on.run.signal.aborted ? { type: "cancelled" } : this.#lost("it was stopped");
  }

  #tell(note: unknown): void {
    this.#fraction = fractionOf(note) ?? this.#fraction;
    this.#on.run.onActivity?.();
    this.#on.run.onProgress?.({ fraction: this.#fraction, note });
  }

  /** Nobody can take back the pieces that are out, so a second run would double them. */
  #lost(reason: string): AttemptResult {
    const after = this.#pieces > 0 ? ` after ${this.#pieces} piece${this.#pieces > 1 ? "s" : ""} of its output` : "";
    return failed("engine.lost", `the handler's process ended while it worked on the job${after} (${reason.replace(/\.$/, "")})`, this.#pieces === 0);
  }
}

async function askUntilOver(url: string, attempt: string, over: AbortSignal): Promise<void> {
  for (let tries = 1; !over.aborted; tries++) {
    const limited = AbortSignal.any([over, AbortSignal.timeout(askMs)]);
    // What cannot be asked will be restarted when the time is up.
    await order(url, "/cancel", { attempt }, { signal: limited }).catch(() => {});
    await pause(backoffMs(tries, cancelAgain), { signal: over });
  }
}

function firstOf(signal: AbortSignal, timeoutMs: number, over: AbortSignal): Promise<"cancel" | "timeout"> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve("timeout"), timeoutMs);
    const onAbort = () => resolve("cancel");
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    over.addEventListener("abort", () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
    });
  });
}

function failed(
  code: EngineFailureCode,
  reason: string,
  retryable: boolean,
  details?: Readonly<Record<string, unknown>>,
): Extract<AttemptResult, { type: "failed" }> {
  return { type: "failed", code, message: `Cannot run the job: ${reason}.`, retryable, ...(details ? { details } : {}) };
}
