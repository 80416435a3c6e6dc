import { randomUUID } from "node:crypto";
import { reasonOf } from "../../errors/fettle-error.ts";
import { backoffMs } from "../../util/backoff.ts";
import { pause } from "../../util/pause.ts";
import type { Attempt, AttemptResult, ConnectOptions, RunOptions } from "../engine.ts";
import { NotReached } from "../request.ts";
import { collect, failureIn } from "./collect.ts";
import { lost, unreachable } from "./failure.ts";
import { PromptFollower } from "./follow.ts";
import type { Hint } from "./frames.ts";
import { BeforeSubmit, type MakeReadyParts, makeReady, type Ready } from "./make-ready.ts";
import { Pictures, sendsPictures, withoutSocket } from "./pictures.ts";
import { PromptProgress } from "./progress.ts";
import { type ComfyJob, readInput } from "./read-input.ts";
import { isAccepted, promptIdOf, refusal, type Verdict } from "./refusal.ts";
import type { ComfySocket } from "./socket.ts";
import { stopPrompt } from "./stop.ts";
import type { Workflow } from "./workflow.ts";

export interface PromptRunParts extends MakeReadyParts {
  readonly socket: ComfySocket;
  /** `websocket`: prompts go over the socket, as stakeordie's fork has it; over HTTP all the same while there is none. */
  readonly promptVia: "http" | "websocket";
  readonly options: ConnectOptions;
  /** For nodes that call comfy.org's paid API, when the job brings none. */
  readonly apiKey: string | undefined;
  /** The prompts that this connection has in the server's queue now. */
  readonly active: Set<string>;
}

const cap = { factor: 2, maxMs: 10_000, jitter: 0.2 };
const usualLetGoMs = 20_000;
const usualLoadingMs = 600_000;
/** A request that is on its way is not cut off at once: the server may queue what it has read, and nobody would know. */
const submitGraceMs = 5000;

/**
 * One attempt: workflow found, checked and made this job's own, queued once, followed to its end, outputs fetched.
 *
 *   read ─► find ─► preflight ─► upload ─► submit ─► follow ─► collect ─► done
 *                       │                    │         ├─ forgotten, unreachable ─► engine.lost (run again elsewhere)
 *                       └ mistakes           └ refused └─ cancel, time up ─► deleted or interrupted ─► cancelled | engine.timeout
 */
export class PromptRun {
  readonly #parts: PromptRunParts;
  readonly #attempt: Attempt;
  readonly #on: RunOptions;
  #promptId: string = randomUUID();

  constructor(parts: PromptRunParts, attempt: Attempt, options: RunOptions) {
    this.#parts = parts;
    this.#attempt = attempt;
    this.#on = options;
  }

  async run(signal: AbortSignal): Promise<AttemptResult> {
    const job = readInput(this.#attempt.input);
    if (job.type === "failed") return job;
    const { active } = this.#parts;
    active.add(this.#promptId);
    try {
      return await this.#tryToSubmit(job, signal);
    } catch (error) {
      if (signal.aborted) return { type: "cancelled" };
      // The reader and the disk throw what the system says; anything without a system code is a bug and stays one.
      if (typeof (error as NodeJS.ErrnoException).code !== "string") throw error;
      return { type: "failed", code: "result.cannot-store", message: `Cannot keep the answer: ${reasonOf(error)}.`, retryable: false };
    } finally {
      active.delete(this.#promptId);
    }
  }

  /** Again as long as nothing was queued: another try doubles no work. */
  async #tryToSubmit(job: ComfyJob, signal: AbortSignal): Promise<AttemptResult> {
    const { tries: most, backoffMs: firstMs } = this.#parts.options.retry;
    for (let tries = 1; !signal.aborted; tries++) {
      try {
        const ready = await makeReady(job, this.#attempt.id, this.#parts, { signal });
        return ready.type === "failed" ? ready : await this.#execute(ready, job.apiKey, signal);
      } catch (error) {
        if (signal.aborted) break;
        if (!(error instanceof NotReached || error instanceof BeforeSubmit)) throw error;
        if (tries >= most) return unreachable(error.message);
        await pause(backoffMs(tries, { ...cap, firstMs }), { signal });
      }
    }
    return { type: "cancelled" };
  }

  async #execute(ready: Ready, jobKey: string | undefined, signal: AbortSignal): Promise<AttemptResult> {
    const { api, socket, options } = this.#parts;
    const { onProgress = () => {}, onActivity = () => {}, wantsPreviews = () => false } = this.#on;
    const stopping = AbortSignal.any([signal, AbortSignal.timeout(options.timeoutMs)]);
    const workflow = await this.#fitSocket(ready.workflow, stopping);
    const progress = new PromptProgress(workflow, { onProgress, wantsPreviews });
    const pictures = new Pictures(workflow, this.#attempt.dir);
    const onHint = (hint: Hint) => {
      if (hint.type === "gap") return;
      pictures.hear(hint);
      progress.hear(hint);
      onActivity();
    };
    using follower = new PromptFollower({ api, socket, promptId: this.#promptId, signal: stopping, onHint, onActivity });
    await socket.untilOpen({ signal: stopping });
    if (signal.aborted) return { type: "cancelled" };
    const startedMs = performance.now();
    const verdict = await this.#submit(workflow, jobKey ?? this.#parts.apiKey, stopping);
    if (verdict && !isAccepted(verdict)) {
      // Half of the outputs may be queued already.
      if (verdict.status === 200) await this.#stop(0);
      return refusal(verdict, workflow, ready.info);
    }
    const given = verdict && promptIdOf(verdict);
    if (given !== undefined && given !== this.#promptId) {
      this.#parts.active.delete(this.#promptId);
      this.#parts.active.add(given);
      this.#promptId = given;
      follower.follow(given);
    }
    const end = await follower.untilEnd();
    const engineMs = performance.now() - startedMs;
    switch (end.type) {
      case "ended": {
        socket.losesPictures ||= pictures.isIncomplete;
        const { attempt, readAnswer } = { attempt: this.#attempt, readAnswer: options.readAnswer };
        const { parameters, warnings } = ready;
        return failureIn(end.entry) ?? (await collect(end.entry, { api, attempt, pictures, readAnswer, signal, onActivity, engineMs, parameters, warnings }));
      }
      case "forgotten":
        return lost("it does not know the prompt any more; it was restarted, or somebody deleted it");
      case "unreachable":
        return lost(end.reason);
      case "cancelled":
        return await this.#cancelled(signal, progress.isLoading);
    }
  }

  /** Undefined: nobody knows whether it was queued; the queue does. */
  async #submit(workflow: Workflow, apiKey: string | undefined, stopping: AbortSignal): Promise<Verdict | undefined> {
    const { api, socket, promptVia } = this.#parts;
    const extra = { ...(apiKey && { api_key_comfy_org: apiKey }), ...(this.#on.wantsPreviews?.() && { preview_method: "auto" }) };
    using patient = new DelayedAbort(stopping, submitGraceMs);
    const { signal } = patient;
    try {
      if (promptVia === "websocket" && socket.isOpen) return await socket.submit({ prompt: workflow, extra_data: extra }, { signal });
      return await api.submit({ workflow, promptId: this.#promptId, clientId: socket.clientId, extra }, { signal });
    } catch (error) {
      if (error instanceof NotReached) throw error;
      return undefined;
    }
  }

  async #fitSocket(workflow: Workflow, signal: AbortSignal): Promise<Workflow> {
    if (!sendsPictures(workflow)) return workflow;
    const { socket } = this.#parts;
    return socket.losesPictures || !(await socket.untilHears({ signal })) ? withoutSocket(workflow) : workflow;
  }

  async #cancelled(signal: AbortSignal, isLoading: boolean): Promise<AttemptResult> {
    const { timeoutMs, letGoMs = usualLetGoMs, loadingMs = usualLoadingMs } = this.#parts.options;
    const letGo = await this.#stop(isLoading ? Math.max(letGoMs, loadingMs) : letGoMs);
    const remedy = letGo ? {} : { remedy: "restart" as const };
    if (signal.aborted) return { type: "cancelled", ...remedy };
    const message = `Cannot run the job: the engine took longer than ${timeoutMs} ms${letGo ? "" : "; it did not react to the interrupt either"}.`;
    return { type: "failed", code: "engine.timeout", message, retryable: false, details: { timeoutMs, letGo }, ...remedy };
  }

  async #stop(ms: number): Promise<boolean> {
    return await stopPrompt(this.#parts.api, this.#promptId, { letGoMs: ms || (this.#parts.options.letGoMs ?? usualLetGoMs) });
  }
}

/** Aborts a while after another signal, unless it is disposed of before. */
class DelayedAbort {
  readonly #controller = new AbortController();
  readonly #over = new AbortController();

  constructor(first: AbortSignal, ms: number) {
    const begin = () => void pause(ms, { signal: this.#over.signal }).then(() => this.#controller.abort());
    if (first.aborted) begin();
    else first.addEventListener("abort", begin, { once: true, signal: this.#over.signal });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  [Symbol.dispose](): void {
    this.#over.abort();
  }
}
