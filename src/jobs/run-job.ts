import { rm } from "node:fs/promises";
import type { EngineOutput } from "../engines/engine.ts";
import type { FettleEvent } from "../events/event.ts";
import type { Log } from "../log/log.ts";
import type { AttemptLimits } from "./attempt.ts";
import { Attempts, type EngineTime } from "./attempts.ts";
import { cancelled, type Failure, type Finisher, type Timing } from "./finisher.ts";
import type { JobInput } from "./job.ts";
import type { Journal, JournalRow } from "./journal.ts";
import type { Pool, Slot } from "./pool.ts";
import { type JobOptions, type Prepare, usualOptions } from "./prepare/prepare.ts";
import type { Readiness } from "./readiness.ts";
import { RecordKeeper } from "./record.ts";
import type { Lease, Source } from "./source.ts";
import type { TerminalResult } from "./terminal-result.ts";
import { JobDeadline } from "./time-limits.ts";

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
  /** `deadlineMs`: all attempts of a job together, unless the job has its own; 0: no limit. */
  readonly limits: AttemptLimits & { readonly deadlineMs: number };
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

/**
 * Runs one journalled job until it has a terminal result: prepare, attempts on ready engines, checks, sealing.
 * Undefined when it was given back instead and waits in its source or in the journal.
 */
export async function runJob(held: Held, parts: RunJobParts): Promise<TerminalResult | undefined> {
  const { row, lease, source } = held;
  const { finisher } = parts;
  const course = beginCourse(held);
  const { record } = course;
  let options = usualOptions;
  const writing = () => ({ record, meta: options.meta, style: source.bodyStyle, isCancelled: () => lease.signal.aborted });
  const fail = (failure: Failure, timing: Timing) => finisher.fail(row, failure, timing, writing());
  const failUnrun = (failure: Failure) => {
    held.slot?.release();
    return fail(failure, course.timing());
  };

  if (lease.job.fault) return failUnrun(lease.job.fault);
  if (row.losses >= parts.maxLosses) {
    return failUnrun({ code: "job.lost-too-often", message: `Cannot run the job: the worker or its engine died ${row.losses} times while it ran.` });
  }
  const prepared = await parts.prepare(lease.job, { signal: AbortSignal.any([lease.signal, parts.deadline]) });
  if (prepared.type === "invalid") return failUnrun(prepared.failure);
  options = prepared.options;
  const deadline = new JobDeadline(options.deadlineMs ?? parts.limits.deadlineMs);
  let dir: string | undefined;
  try {
    const end = await new Attempts(held, parts, { record, deadline }).run(prepared);
    const timing = course.timing(end.timing);
    if ("attempt" in end && end.attempt) dir = end.attempt.dir;
    switch (end.type) {
      case "done": {
        held.onSlotFree();
        const signal = AbortSignal.any([lease.signal, parts.deadline]);
        const context = { job: lease.job, options, dir: end.attempt.dir, maxBytes: source.maxResultBytes?.(lease), signal };
        const finished = await finishOutput(end.output, context, parts);
        if (finished.type === "output") return await finisher.complete(row, finished.output, timing, writing());
        const isCutShort = parts.deadline.aborted && !lease.signal.aborted;
        if (!isCutShort) return fail(finished.failure, timing);
        // The bucket is not to blame for an upload that was cut off.
        const why = finished.failure.code === "result.cannot-upload" ? shuttingDown : finished.failure;
        return await giveBack(held, parts, () => fail(why, timing));
      }
      case "failed":
        held.onSlotFree();
        return end.output ? await finisher.failWith(row, end.failure, end.output, timing, writing()) : fail(end.failure, timing);
      case "cancelled":
        return fail(cancelled, timing);
      case "interrupted":
        return await giveBack(held, parts, () => fail(shuttingDown, timing));
    }
  } finally {
    deadline.end();
    // Not at once: the file system takes a while for large files. What is left by a sudden end goes at the next start.
    if (dir !== undefined) void rm(dir, { recursive: true, force: true }).catch(() => {});
  }
}

const shuttingDown: Failure = { code: "job.shutting-down", message: "Cannot finish the job: fettle was stopped while it ran or waited." };

/** The job's record, and its two times: waited until its last attempt began, and spent on it. */
function beginCourse({ row, slot }: Held): { readonly record: RecordKeeper; timing(time?: EngineTime): Timing } {
  const takenAt = performance.now();
  const delayBefore = Math.max(0, Date.now() - row.receivedAt);
  const earlier = row.attempts - (slot ? 1 : 0);
  const lost = earlier > 0 && row.engine !== null ? { number: earlier, engine: row.engine } : undefined;
  const record = new RecordKeeper({ receivedAt: row.receivedAt, former: row.record, lost });
  record.reach("started");
  return {
    record,
    timing: ({ startedAt = performance.now(), executionMs } = { startedAt: undefined, executionMs: 0 }) => ({
      delayMs: delayBefore + startedAt - takenAt,
      executionMs,
    }),
  };
}

async function giveBack({ row, lease, source }: Held, { journal }: RunJobParts, otherwise: () => TerminalResult): Promise<TerminalResult | undefined> {
  if (!(await source.release(lease))) return otherwise();
  journal.requeue(row.key);
  return undefined;
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
