import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Attempt, AttemptResult, Engine, EngineOutput } from "../engines/engine.ts";
import type { FettleEvent } from "../events/event.ts";
import type { Log } from "../log/log.ts";
import { backoffMs } from "../util/backoff.ts";
import { pause } from "../util/pause.ts";
import type { Failure, Finisher } from "./finisher.ts";
import type { JobInput } from "./job.ts";
import type { Journal, JournalRow } from "./journal.ts";
import type { Pool, Slot } from "./pool.ts";
import type { EngineRequest, JobOptions, Prepare } from "./prepare/prepare.ts";
import type { Readiness } from "./readiness.ts";
import type { Lease, Source } from "./source.ts";
import type { TerminalResult } from "./terminal-result.ts";

/** What a step may know of the job whose output it gets. `dir` is the attempt's folder; new files go there. */
export interface OutputContext {
  readonly job: JobInput;
  readonly options: JobOptions;
  readonly dir: string;
  /** The source cannot deliver a larger body, in bytes. */
  readonly maxBytes: number | undefined;
  readonly signal: AbortSignal;
}

/** What an engine's output goes through before it counts as the job's (sinks, formats, size): the same output, another, or why it is none. */
export type OutputStep = (
  output: EngineOutput,
  context: OutputContext,
) => Promise<{ readonly type: "output"; readonly output: EngineOutput } | { readonly type: "failed"; readonly failure: Failure }>;

export interface RunJobParts {
  readonly journal: Journal;
  readonly pool: Pool;
  readonly readiness: Readiness;
  readonly finisher: Finisher;
  readonly prepare: Prepare;
  readonly steps: readonly OutputStep[];
  readonly emit: (event: FettleEvent) => void;
  readonly log: Log;
  /** Executions beyond these end the job; a lost engine counts against `maxLosses`, which is smaller. */
  readonly retry: { readonly tries: number; readonly backoffMs: number };
  readonly maxLosses: number;
  /** Leasing has stopped: what waits for an engine is given back where it can be. */
  readonly stopping: AbortSignal;
  /** Time is up: interrupt what runs. */
  readonly deadline: AbortSignal;
}

/** A job within the worker: its row, its lease, the slot it may hold already. */
export interface Held {
  readonly row: JournalRow;
  readonly lease: Lease;
  readonly source: Source;
  readonly slot: Slot | undefined;
  /** Called once, when the job needs no engine any more: the next one may be taken. */
  onSlotFree(): void;
}

/** An interrupted engine gets this long to let go when the worker must end. */
const letGoMs = 400;
const retryPause = { factor: 2, maxMs: 10_000, jitter: 0.2 };

/**
 * Runs one journalled job until it has a terminal result: attempt, retry on a ready engine, checks, sealing.
 * Undefined when it was given back instead and waits in its source or in the journal.
 */
export async function runJob(held: Held, parts: RunJobParts): Promise<TerminalResult | undefined> {
  const { row, lease } = held;
  const { finisher, readiness } = parts;
  const takenAt = performance.now();
  let slot = held.slot;
  let attempts = row.attempts;
  let lost = row.losses;
  const delayBefore = Math.max(0, Date.now() - row.receivedAt);
  const waited = () => ({ delayMs: delayBefore + performance.now() - takenAt, executionMs: 0 });
  const fail = (failure: Failure) => {
    slot?.release();
    return finisher.fail(row, failure, waited());
  };

  if (lease.job.fault) return fail(lease.job.fault);
  if (row.losses >= parts.maxLosses) {
    return fail({ code: "job.lost-too-often", message: `Cannot run the job: the worker died ${row.losses} times while an engine had it.` });
  }
  const prepared = await parts.prepare(lease.job, { signal: AbortSignal.any([lease.signal, parts.deadline]) });
  if (prepared.type === "invalid") return fail(prepared.failure);
  for (let tries = 1; ; tries++) {
    slot ??= await acquire(held, parts);
    if (!slot) return lease.signal.aborted ? finisher.fail(row, cancelled, waited()) : await giveBack(held, parts, waited());
    const { engine } = slot;
    const request = prepared.forEngine(engine.kind);
    if (request.type === "invalid") return fail(request.failure);
    // The first attempt of a job that found a free engine was journalled together with its acceptance.
    if (held.slot !== slot) attempts = parts.journal.start(row.key, engine.name);
    parts.emit({ type: "job.started", job: row.id, source: row.source, engine: engine.name, attempt: attempts });
    const delayMs = delayBefore + performance.now() - takenAt;
    const startedAt = performance.now();
    const attempt = openAttempt(held.row, request, parts.journal, attempts);
    try {
      const result = await runAttempt(engine, attempt, held, parts);
      if (result.type === "failed" && result.retryable) readiness.doubt(engine.name);
      slot.release();
      slot = undefined;
      if (result.type === "done") {
        held.onSlotFree();
        const timing = { delayMs, executionMs: result.engineMs };
        const { job } = lease;
        const maxBytes = held.source.maxResultBytes?.(lease);
        const end = await finishOutput(result.output, { job, options: prepared.options, dir: attempt.dir, maxBytes, signal: parts.deadline }, parts);
        return end.type === "failed" ? finisher.fail(row, end.failure, timing) : await finisher.complete(row, end.output, timing);
      }
      const timing = { delayMs, executionMs: performance.now() - startedAt };
      if (result.type === "cancelled") return lease.signal.aborted ? finisher.fail(row, cancelled, timing) : await giveBack(held, parts, timing);
      if (result.code === "engine.lost") lost += 1;
      if (!result.retryable || tries >= parts.retry.tries || lost >= parts.maxLosses) return finisher.fail(row, result, timing);
      parts.emit({ type: "job.retried", job: row.id, source: row.source, attempt: attempts, cause: result.code });
    } finally {
      rmSync(attempt.dir, { recursive: true, force: true });
    }
    await pause(backoffMs(tries, { ...retryPause, firstMs: parts.retry.backoffMs }), { signal: AbortSignal.any([lease.signal, parts.deadline]) });
  }
}

const cancelled: Failure = { code: "job.cancelled", message: "The job was cancelled by its caller." };

/** What its source can take back leaves when leasing stops; what it cannot waits for an engine as long as there is time. */
function acquire({ lease, source }: Held, { pool, stopping, deadline }: RunJobParts): Promise<Slot | undefined> {
  const end = source.canRelease ? stopping : deadline;
  return pool.acquire({ signal: AbortSignal.any([lease.signal, end]) });
}

async function giveBack(held: Held, { journal, finisher }: RunJobParts, timing: { delayMs: number; executionMs: number }): Promise<TerminalResult | undefined> {
  if (await held.source.release(held.lease)) {
    journal.requeue(held.row.key);
    return undefined;
  }
  return finisher.fail(held.row, { code: "job.shutting-down", message: "Cannot finish the job: fettle was stopped while it ran or waited." }, timing);
}

function openAttempt(row: JournalRow, { input, call }: EngineRequest, journal: Journal, number: number): Attempt {
  const dir = join(journal.place.attemptsDir, `${row.key}-${number}`);
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  return { id: `${row.key}-${number}`, jobId: row.id, input, ...(call !== undefined && { call }), dir };
}

/** The engine's own errors are values; anything it throws is a bug that must cost this job only. */
async function runAttempt(engine: Engine, attempt: Attempt, { lease, source }: Held, { deadline }: RunJobParts): Promise<AttemptResult> {
  const signal = AbortSignal.any([lease.signal, deadline]);
  const run = engine
    .run(attempt, { signal, ...(source.progress && { onProgress: (progress) => source.progress?.(lease, progress) }) })
    .catch((error: unknown): AttemptResult => ({ type: "failed", code: "engine.failed", message: `Cannot run the job: ${String(error)}.`, retryable: false }));
  const late = Promise.withResolvers<AttemptResult>();
  const onDeadline = () => void pause(letGoMs).then(() => late.resolve({ type: "cancelled" }));
  if (deadline.aborted) onDeadline();
  else deadline.addEventListener("abort", onDeadline, { once: true });
  try {
    return await Promise.race([run, late.promise]);
  } finally {
    deadline.removeEventListener("abort", onDeadline);
  }
}

async function finishOutput(output: EngineOutput, context: OutputContext, { steps, log }: RunJobParts): ReturnType<OutputStep> {
  for (const warning of output.warnings) log.warn(warning, { job: context.job.id });
  let now = output;
  for (const step of steps) {
    const after = await step(now, context);
    if (after.type === "failed") return after;
    now = after.output;
  }
  return { type: "output", output: now };
}
