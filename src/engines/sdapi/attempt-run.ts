import type { IncomingMessage } from "node:http";
import { reasonOf } from "../../errors/fettle-error.ts";
import { backoffMs } from "../../util/backoff.ts";
import { pause } from "../../util/pause.ts";
import type { AnswerReader, Attempt, AttemptResult, ConnectOptions, EngineFailureCode, RunOptions } from "../engine.ts";
import type { SdapiKind, SdapiPace } from "./connect.ts";
import { type Patience, stopJob } from "./interrupt.ts";
import { buildJobRequest, inFloat32, type JobRequest } from "./job-request.ts";
import { readRefusal } from "./refusal.ts";
import { type Base, ConnectionLost, NotReached, sendJson } from "../request.ts";
import { watchProgress } from "./watch-progress.ts";

export interface AttemptRunOptions {
  readonly kind: SdapiKind;
  readonly base: Base;
  readonly options: ConnectOptions;
  readonly pace: SdapiPace;
  readonly patience: Patience;
  readonly attempt: Attempt;
  readonly listeners: Omit<RunOptions, "signal">;
}

/** How one request ended; `again` when nothing reached the engine or a proxy said 502, 503 or 504. */
type Exchange = { readonly type: "result"; readonly result: AttemptResult } | { readonly type: "again"; readonly reason: string };

// The seed's policy: delays double, capped as urllib3 caps them.
const cap = { factor: 2, maxMs: 120_000, jitter: 0 };
const passing = new Set([502, 503, 504]);
const longestRefusal = 1_048_576;

/**
 * One attempt of a job on an engine, with the retries that cannot double work.
 *
 *   sending ──► answered ──► done | failed
 *      │  ▲          502/503/504, refused ──► pause ──► sending (up to `tries`)
 *      │  └──────────────────────────────────────┘
 *      └──► interrupted (cancel, timeout) ──► the engine let go ──► cancelled | engine.timeout
 */
export class AttemptRun {
  readonly #on: AttemptRunOptions;

  constructor(options: AttemptRunOptions) {
    this.#on = options;
  }

  async run(signal: AbortSignal): Promise<AttemptResult> {
    const { attempt, kind } = this.#on;
    const request = buildJobRequest(attempt, kind);
    if ("type" in request) return request;
    const result = await this.#run(request, signal);
    const better = wantsFloat32(result) ? inFloat32(request, kind) : undefined;
    if (!better || signal.aborted) return result;
    const second = await this.#run(better, signal);
    return wantsFloat32(second) ? { ...second, message: second.message.replace(/\.$/, ", also with the VAE in float32.") } : second;
  }

  async #run(request: JobRequest, signal: AbortSignal): Promise<AttemptResult> {
    const { options } = this.#on;
    for (let tries = 1; ; tries++) {
      if (signal.aborted) return { type: "cancelled" };
      const exchange = await this.#once(request, signal);
      if (exchange.type === "result") return exchange.result;
      if (tries >= options.retry.tries) return failed("engine.unreachable", `${exchange.reason}, ${tries} times`, true);
      await pause(backoffMs(tries, { ...cap, firstMs: options.retry.backoffMs }), { signal });
    }
  }

  /** One request, ended by its answer, by the timeout or by a cancel. */
  async #once(request: JobRequest, signal: AbortSignal): Promise<Exchange> {
    const { base, options, pace, patience, listeners } = this.#on;
    const { timeoutMs } = options;
    const hangUp = new AbortController();
    const ending = new AbortController();
    const exchange = this.#exchange(request, hangUp.signal);
    const stopped = new Promise<"cancel" | "timeout">((resolve) => {
      const timer = setTimeout(() => resolve("timeout"), timeoutMs);
      const onAbort = () => resolve("cancel");
      signal.addEventListener("abort", onAbort, { once: true });
      if (signal.aborted) onAbort();
      ending.signal.addEventListener("abort", () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", onAbort);
      });
    });
    const watching = watchProgress({ base, taskId: request.taskId, everyMs: pace.progressMs, listeners }, ending.signal);
    try {
      const first = await Promise.race([exchange, stopped]);
      if (typeof first !== "string") return signal.aborted ? { type: "result", result: { type: "cancelled" } } : first;
      const letGo = await stopJob({ base, taskId: request.taskId, ended: exchange, ...patience });
      hangUp.abort();
      await exchange;
      const remedy = letGo ? {} : { remedy: "restart" as const };
      if (first === "cancel") return { type: "result", result: { type: "cancelled", ...remedy } };
      const still = letGo ? "" : "; it did not react to the interrupt either";
      const late = failed("engine.timeout", `the engine took longer than ${timeoutMs} ms${still}`, false, { timeoutMs, letGo });
      return { type: "result", result: { ...late, ...remedy } };
    } finally {
      ending.abort();
      await watching;
    }
  }

  async #exchange(request: JobRequest, hangUp: AbortSignal): Promise<Exchange> {
    const startedMs = performance.now();
    try {
      const response = await sendJson(this.#on.base, request, { signal: hangUp });
      const status = response.statusCode ?? 0;
      if (status >= 200 && status < 300) return { type: "result", result: await this.#read(response, startedMs) };
      const text = await readShort(response);
      if (passing.has(status)) return { type: "again", reason: `the engine answered with HTTP ${status}` };
      return { type: "result", result: readRefusal(status, text) };
    } catch (error) {
      if (hangUp.aborted) return { type: "result", result: { type: "cancelled" } };
      if (error instanceof NotReached) return { type: "again", reason: `the engine cannot be reached (${error.message})` };
      if (error instanceof ConnectionLost) return { type: "result", result: lost(error.message) };
      // The reader throws what the disk says; anything without a system code is a bug and stays one.
      if (typeof (error as NodeJS.ErrnoException).code !== "string") throw error;
      // Not tried again: a full disk stays full, and each try would cost the GPU a whole job.
      return { type: "result", result: failed("result.cannot-store", `the answer cannot be kept: ${reasonOf(error)}`, false) };
    }
  }

  async #read(response: IncomingMessage, startedMs: number): Promise<AttemptResult> {
    const reader = await this.#on.options.readAnswer(this.#on.attempt);
    try {
      const complete = await pump(response, reader, this.#on.listeners.onActivity);
      const engineMs = performance.now() - startedMs;
      const verdict = await reader.end();
      if (verdict.type === "good" && complete) return { type: "done", output: verdict.output, engineMs };
      if (verdict.type === "bad")
        return { type: "failed", code: verdict.code, message: verdict.message, retryable: false, ...(verdict.details ? { details: verdict.details } : {}) };
      return lost("the answer broke off");
    } finally {
      response.destroy();
      await reader.discard();
    }
  }
}

/** Black, and the reader was told that another try is worth while. */
function wantsFloat32(result: AttemptResult): result is Extract<AttemptResult, { type: "failed" }> {
  return result.type === "failed" && result.details?.["retry"] === "float32-vae";
}

/** Moves the body into the reader at the reader's speed. False: the reader wants no more. Throws `ConnectionLost` when it breaks off. */
async function pump(response: IncomingMessage, reader: AnswerReader, onActivity: (() => void) | undefined): Promise<boolean> {
  const chunks = response[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>;
  for (;;) {
    const next = await chunks.next().catch((error: unknown) => {
      throw new ConnectionLost(reasonOf(error), { cause: error });
    });
    if (next.done) break;
    onActivity?.();
    if (!(await reader.write(next.value))) return false;
  }
  if (!response.complete) throw new ConnectionLost("the answer broke off");
  return true;
}

async function readShort(response: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let sizeBytes = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      parts.push(chunk);
      sizeBytes += chunk.length;
      if (sizeBytes > longestRefusal) break;
    }
  } catch {
    // The status alone must do.
  }
  response.destroy();
  return Buffer.concat(parts).toString("utf8");
}

function lost(reason: string): AttemptResult {
  return failed("engine.lost", `the connection to the engine broke while it worked on the job (${reason.replace(/\.$/, "")})`, true);
}

function failed(code: EngineFailureCode, reason: string, retryable: boolean, details?: Readonly<Record<string, unknown>>): AttemptResult {
  return { type: "failed", code, message: `Cannot run the job: ${reason}.`, retryable, ...(details ? { details } : {}) };
}
