import { rmSync } from "node:fs";
import type { Attempt, AttemptResult, Engine, EngineOutput } from "../engines/engine.ts";
import { reasonOf } from "../errors/fettle-error.ts";
import { backoffMs } from "../util/backoff.ts";
import { pause } from "../util/pause.ts";
import { type NumberedAttempt, openAttempt, runAttempt } from "./attempt.ts";
import type { Failure } from "./finisher.ts";
import type { PreparedJob } from "./prepare/prepare.ts";
import type { RecordKeeper } from "./record.ts";
import { judge } from "./retry.ts";
import type { Held, RunJobParts } from "./run-job.ts";
import type { JobDeadline } from "./time-limits.ts";

/** What became of a job on its engines. `interrupted`: the worker must end, the job may be given back. */
export type AttemptsEnd =
  | { readonly type: "done"; readonly output: EngineOutput; readonly attempt: Attempt; readonly timing: EngineTime }
  | { readonly type: "failed"; readonly failure: Failure; readonly output?: EngineOutput; readonly timing: EngineTime; readonly attempt?: Attempt }
  | { readonly type: "cancelled" | "interrupted"; readonly timing: EngineTime };

/** `startedAt`: when the last attempt began, on the clock of performance.now(); undefined when there was none. */
export interface EngineTime {
  readonly startedAt: number | undefined;
  readonly executionMs: number;
}

type Failed = Extract<AttemptResult, { type: "failed" }>;

const retryPause = { factor: 2, maxMs: 10_000, jitter: 0.2 };
const freeMemoryMs = 300_000;

/**
 * Attempt after attempt until there is an output or no sense in another; see retry.ts for the policy. Removes the folders of attempts
 * that failed; the last one's is the caller's when it is in the result.
 */
export class Attempts {
  readonly #held: Held;
  readonly #parts: RunJobParts;
  readonly #record: RecordKeeper;
  readonly #deadline: JobDeadline;
  #slot: Held["slot"];
  #losses: number;
  #tries = 0;
  #freed = false;
  #time: EngineTime = { startedAt: undefined, executionMs: 0 };

  constructor(held: Held, parts: RunJobParts, { record, deadline }: { record: RecordKeeper; deadline: JobDeadline }) {
    this.#held = held;
    this.#parts = parts;
    this.#record = record;
    this.#deadline = deadline;
    this.#slot = held.slot;
    this.#losses = held.row.losses;
  }

  async run(prepared: PreparedJob): Promise<AttemptsEnd> {
    for (;;) {
      this.#slot ??= await this.#acquire();
      if (!this.#slot) return this.#stopped();
      this.#record.reach("serviceCheck");
      const { engine } = this.#slot;
      const request = prepared.forEngine(engine.kind);
      if (request.type === "invalid") {
        this.#slot.release();
        return { type: "failed", failure: request.failure, timing: this.#time };
      }
      this.#record.warn(...request.warnings);
      if (this.#tries === 0) for (const warning of request.warnings) this.#parts.log.warn(warning, { job: this.#held.row.id });
      const attempt = openAttempt(this.#held.row, request, this.#held.lease.job.extra, this.#parts.journal, this.#begin(engine));
      const end = await this.#once(engine, attempt);
      if (end?.type !== "done" && !(end?.type === "failed" && end.attempt)) rmSync(attempt.dir, { recursive: true, force: true });
      if (end) return end;
      const waitMs = backoffMs(this.#tries, { ...retryPause, firstMs: this.#parts.retry.backoffMs });
      await pause(waitMs, { signal: AbortSignal.any([this.#held.lease.signal, this.#parts.deadline, this.#deadline.signal]) });
    }
  }

  /** What its source can take back leaves when leasing stops; what it cannot waits for an engine as long as there is time. */
  #acquire(): Promise<Held["slot"]> {
    const { lease, source } = this.#held;
    const { pool, stopping, deadline } = this.#parts;
    return pool.acquire({ signal: AbortSignal.any([lease.signal, source.canRelease ? stopping : deadline, this.#deadline.signal]), by: source.name });
  }

  /** Journals and tells the attempt; gives its number. */
  #begin(engine: Engine): number {
    const { row, slot } = this.#held;
    const { journal, emit } = this.#parts;
    this.#tries += 1;
    this.#deadline.begin();
    // The first attempt of a job that found a free engine was journalled together with its acceptance.
    const isJournalled = this.#tries === 1 && slot !== undefined && this.#slot === slot;
    const number = isJournalled ? row.attempts : journal.start(row.key, engine.name);
    this.#record.begin(number, engine.name);
    this.#record.reach("inferenceStart");
    if (number > 1) journal.note(row.key, JSON.stringify(this.#record));
    this.#time = { startedAt: performance.now(), executionMs: 0 };
    emit({ type: "job.started", job: row.id, source: row.source, engine: engine.name, attempt: number, queueMs: Math.max(0, Date.now() - row.receivedAt) });
    return number;
  }

  /** One attempt and what follows from it; undefined: try again. */
  async #once(engine: Engine, attempt: NumberedAttempt): Promise<AttemptsEnd | undefined> {
    const { lease, source } = this.#held;
    const { readiness, limits, deadline: drain } = this.#parts;
    const life = readiness.lifeOf(engine.name);
    const signals = { lease: lease.signal, drain, deadline: this.#deadline.signal };
    const result = await runAttempt(engine, attempt, { lease, source, signals, limits });
    const startedAt = this.#time.startedAt ?? performance.now();
    this.#time = { startedAt, executionMs: result.type === "done" ? result.engineMs : performance.now() - startedAt };
    if (result.type === "done") {
      this.#record.end();
      this.#noteSharing(engine, result);
      this.#letGo();
      return { type: "done", output: result.output, attempt, timing: this.#time };
    }
    if (result.type === "cancelled") {
      const cause = lease.signal.aborted ? "job.cancelled" : this.#deadline.signal.aborted ? "engine.timeout" : "job.shutting-down";
      if (result.remedy === "restart" && !drain.aborted) readiness.restart(engine.name, { life, cause: "it did not let go of a job after an interrupt" });
      this.#record.end({ cause, remedy: drain.aborted ? undefined : result.remedy });
      this.#letGo();
      return this.#stopped();
    }
    return await this.#afterFailure(engine, attempt, result, life);
  }

  /** Other jobs had a part in it: they shared the call, or one of them left its answer behind. */
  #noteSharing(engine: Engine, { batch, cache }: Extract<AttemptResult, { type: "done" }>): void {
    const { row } = this.#held;
    const about = { job: row.id, source: row.source };
    if (batch !== undefined) {
      this.#record.add({ batch });
      this.#parts.emit({ type: "job.batched", ...about, engine: engine.name, size: batch });
    }
    if (cache === undefined) return;
    if (cache !== "miss") this.#record.add({ cache });
    this.#parts.emit({ type: "job.cached", ...about, outcome: cache });
  }

  async #afterFailure(engine: Engine, attempt: NumberedAttempt, result: Failed, life: number): Promise<AttemptsEnd | undefined> {
    const { row, lease } = this.#held;
    const { readiness, retry, maxLosses, journal, emit, deadline: drain } = this.#parts;
    const past = { tries: this.#tries, losses: this.#losses, freed: this.#freed };
    const { again, remedy, isLoss } = judge(result, past, { ...retry, maxLosses, canFree: engine.freeMemory !== undefined });
    if (isLoss) this.#losses = journal.lose(row.key);
    this.#record.end({ cause: result.code, remedy });
    if (!drain.aborted) {
      if (remedy === "restart") readiness.restart(engine.name, { life, cause: `${result.code} on job ${row.id}` });
      else if (remedy === "free-memory") await this.#freeMemory(engine);
      else if (result.retryable) readiness.doubt(engine.name);
    }
    this.#letGo();
    if (!again) return this.#failed(result, attempt);
    if (lease.signal.aborted || drain.aborted || this.#deadline.signal.aborted) return this.#stopped();
    emit({ type: "job.retried", job: row.id, source: row.source, attempt: attempt.number, cause: result.code, ...(remedy && { remedy }) });
    return undefined;
  }

  /** Within the slot: nobody's job may begin on an engine that is moving its model. */
  async #freeMemory(engine: Engine): Promise<void> {
    this.#freed = true;
    const signal = AbortSignal.any([this.#held.lease.signal, this.#parts.deadline, this.#deadline.signal, AbortSignal.timeout(freeMemoryMs)]);
    try {
      await engine.freeMemory?.({ signal });
    } catch (error) {
      this.#parts.log.warn(`Cannot free the memory of ${engine.name}: ${reasonOf(error)}. The job is tried again all the same.`, { job: this.#held.row.id });
    }
  }

  #failed(result: Failed, attempt: Attempt): AttemptsEnd {
    const { code, message, text, details, output } = result;
    const path = [details?.["field"], details?.["node"]].find((one) => typeof one === "string");
    const failure: Failure = { code, message, ...(text !== undefined && { text }), ...(path !== undefined && { path }), ...(details && { details }) };
    return { type: "failed", failure, timing: this.#time, ...(output && { output, attempt }) };
  }

  /** Why there is no further attempt: the caller, the job's own time, or the end of the worker. */
  #stopped(): AttemptsEnd {
    if (this.#held.lease.signal.aborted) return { type: "cancelled", timing: this.#time };
    if (!this.#deadline.signal.aborted) return { type: "interrupted", timing: this.#time };
    const { limitMs } = this.#deadline;
    const tried = this.#record.tried;
    const message = `Cannot finish the job: it took longer than its deadline of ${limitMs} ms${tried ? ` (${tried})` : ""}.`;
    return { type: "failed", failure: { code: "engine.timeout", message, details: { deadlineMs: limitMs } }, timing: this.#time };
  }

  #letGo(): void {
    this.#slot?.release();
    this.#slot = undefined;
  }
}
