import type { Progress } from "../engines/engine.ts";
import { FettleError } from "../errors/fettle-error.ts";
import type { ListedJob } from "./job-list.ts";
import { type JobResult, runOne, type RunOneParts } from "./run-one.ts";
import type { RunState } from "./run-state.ts";

/** How one job of many ended. */
export type Outcome =
  | { readonly type: "done"; readonly result: JobResult; readonly ms: number }
  /** A former run had finished it. */
  | { readonly type: "skipped"; readonly record: unknown; readonly files: readonly string[] }
  | { readonly type: "failed"; readonly error: FettleError; readonly ms: number }
  /** Called off in its middle. */
  | { readonly type: "cancelled" };

export interface RunJobsOptions {
  readonly jobs: readonly ListedJob[];
  readonly state: RunState;
  readonly concurrency: number;
  /** The first failure ends the run; jobs in their middle are called off. */
  readonly failFast: boolean;
  onStart?(job: ListedJob): void;
  onProgress?(job: ListedJob, progress: Progress): void;
  onEnd(job: ListedJob, outcome: Outcome): void;
}

export interface Tally {
  readonly total: number;
  done: number;
  skipped: number;
  failed: number;
  /** Why jobs were left out that nobody called off. */
  fatal?: FettleError;
}

/** After these the next job cannot fare better, and each would cost its time. */
const fatalCodes: ReadonlySet<string> = new Set([
  "job.unauthorized",
  "supervise.no-instance",
  "supervise.not-ready",
  "supervise.spawn-failed",
  "engine.unreachable",
]);
const fatalCauses: ReadonlySet<unknown> = new Set(["ENOSPC", "EROFS", "EDQUOT"]);

/** Runs jobs in their order, some at a time; a failure is its job's own unless it is everyone's. Resolves when nothing runs any more. */
export async function runJobs(parts: RunOneParts, { jobs, state, concurrency, failFast, onStart, onProgress, onEnd }: RunJobsOptions): Promise<Tally> {
  const tally: Tally = { total: jobs.length, done: 0, skipped: 0, failed: 0 };
  const halt = new AbortController();
  const signal = AbortSignal.any([parts.signal, halt.signal]);
  const waiting = jobs.values();

  async function one(job: ListedJob): Promise<void> {
    const former = state.former(job.key);
    if (former?.type === "done") {
      tally.skipped += 1;
      return onEnd(job, { type: "skipped", record: former.record, files: former.files });
    }
    onStart?.(job);
    const startedMs = performance.now();
    try {
      const progress = onProgress && ((now: Progress) => onProgress(job, now));
      const memory = { state, key: job.key, former };
      const result = await runOne(job.read(), { ...parts, signal }, { n: job.n, memory, ...(progress && { onProgress: progress }) });
      tally.done += 1;
      onEnd(job, { type: "done", result, ms: performance.now() - startedMs });
    } catch (error) {
      if (signal.aborted) return onEnd(job, { type: "cancelled" });
      if (!(error instanceof FettleError)) throw error;
      tally.failed += 1;
      onEnd(job, { type: "failed", error, ms: performance.now() - startedMs });
      if (isFatal(error)) tally.fatal = error;
      if (failFast || tally.fatal) halt.abort();
    }
  }

  async function lane(): Promise<void> {
    // One iterator for all lanes: each job is taken once.
    for (const job of waiting) {
      if (signal.aborted) return;
      await one(job);
    }
  }

  const lanes = Array.from({ length: Math.min(concurrency, jobs.length) }, () => lane());
  // A bug in one lane stops the others, which must have ended before it is told.
  const ends = await Promise.allSettled(lanes.map((running) => running.catch((error: unknown) => (halt.abort(), Promise.reject(error as Error)))));
  const broken = ends.find((end) => end.status === "rejected");
  if (broken) throw broken.reason;
  return tally;
}

function isFatal({ code, cause }: FettleError): boolean {
  return fatalCodes.has(code) || fatalCauses.has((cause as NodeJS.ErrnoException | undefined)?.code);
}
