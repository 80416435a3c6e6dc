import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Attempt, AttemptResult, Engine } from "../engines/engine.ts";
import { pause } from "../util/pause.ts";
import type { Journal, JournalRow } from "./journal.ts";
import type { EngineRequest } from "./prepare/prepare.ts";
import type { Lease, Source } from "./source.ts";
import { StallWatch } from "./time-limits.ts";

export interface AttemptLimits {
  readonly stallMs: number;
  readonly loadingMs: number;
  readonly letGoMs: number;
}

export interface AttemptSignals {
  /** The caller cancelled, or the lease was lost. */
  readonly lease: AbortSignal;
  /** The worker must end. */
  readonly drain: AbortSignal;
  /** The job's own time is up. */
  readonly deadline: AbortSignal;
}

/** An interrupted engine gets this long to let go when the worker must end. */
const letGoInDrainMs = 400;
/** A connection that keeps its own time gets so much more before it is left alone. */
const slackMs = 2000;

/** `number` counts from 1 over all lives of the worker. */
export interface NumberedAttempt extends Attempt {
  readonly number: number;
}

/** A fresh folder and the request for one try. */
export function openAttempt(
  row: JournalRow,
  { input, call, answersImages }: EngineRequest,
  extra: Attempt["extra"],
  journal: Journal,
  number: number,
): NumberedAttempt {
  const dir = join(journal.place.attemptsDir, `${row.key}-${number}`);
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const asked = { ...(call !== undefined && { call }), ...(answersImages !== undefined && { answersImages }), ...(extra && { extra }) };
  return { number, id: `${row.key}-${number}`, jobId: row.id, input, ...asked, dir };
}

/**
 * Runs one attempt to its end, its interruption or its stall. The engine's own errors are values; anything it throws is a bug that must
 * cost this job only. An engine that keeps a job in spite of an interrupt is left, with `remedy: "restart"`.
 */
export async function runAttempt(
  engine: Engine,
  attempt: Attempt,
  { lease, source, signals, limits }: { lease: Lease; source: Source; signals: AttemptSignals; limits: AttemptLimits },
): Promise<AttemptResult> {
  const stall = new StallWatch({ ...limits, tellsProgress: engine.tellsProgress === true });
  const interrupt = AbortSignal.any([signals.lease, signals.deadline, stall.signal]);
  const run = engine
    .run(attempt, {
      signal: AbortSignal.any([interrupt, signals.drain]),
      onProgress(progress) {
        stall.saw(progress);
        source.progress?.(lease, progress);
      },
      onActivity: () => stall.touch(),
      wantsPreviews: () => source.wantsPreviews?.(lease) === true,
      onStream: () => source.streams?.(lease),
      ...(source.partial && { onPartial: async (value: unknown) => await source.partial?.(lease, value) }),
    })
    .catch((error: unknown): AttemptResult => ({ type: "failed", code: "engine.failed", message: `Cannot run the job: ${String(error)}.`, retryable: false }));
  const over = new AbortController();
  try {
    const result = await Promise.race([
      run,
      after(signals.drain, letGoInDrainMs, over.signal).then((): AttemptResult => ({ type: "cancelled" })),
      after(interrupt, limits.letGoMs + limits.loadingMs + slackMs, over.signal).then((): AttemptResult => ({ type: "cancelled", remedy: "restart" })),
    ]);
    const isOurs = stall.signal.aborted && !signals.lease.aborted && !signals.drain.aborted && !signals.deadline.aborted;
    return result.type === "cancelled" && isOurs ? stalled(stall.limitMs) : result;
  } finally {
    over.abort();
    stall.end();
  }
}

/** Restarted even when it let go of the job: an engine that did nothing for minutes is not trusted with the next one. */
function stalled(limitMs: number): AttemptResult {
  const message = `Cannot run the job: the engine made no progress for ${Math.round(limitMs / 1000)} s.`;
  return { type: "failed", code: "engine.stalled", message, retryable: true, remedy: "restart", details: { stallMs: limitMs } };
}

/** Resolves `ms` after the signal aborts; never when `over` aborts before. */
function after(signal: AbortSignal, ms: number, over: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const begin = () =>
      void pause(ms, { signal: over }).then(() => {
        if (!over.aborted) resolve();
      });
    if (signal.aborted) begin();
    else signal.addEventListener("abort", begin, { once: true, signal: over });
  });
}
