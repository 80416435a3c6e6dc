import { backoffMs } from "../../util/backoff.ts";
import { pause } from "../../util/pause.ts";
import type { Progress } from "../engine.ts";
import { askJson, type Base } from "./request.ts";

export const interruptPath = "/sdapi/v1/interrupt";
const askMs = 5000;
const again = { firstMs: 50, factor: 2, maxMs: 2000, jitter: 0 };

/** What /progress tells; undefined when the engine does not answer it. */
export interface SdapiProgress extends Progress {
  readonly isBusy: boolean;
}

/** One look at /progress, without the preview image, which costs the engine a decode. */
export async function readProgress(base: Base, { signal }: { signal: AbortSignal }): Promise<SdapiProgress | undefined> {
  const limited = AbortSignal.any([signal, AbortSignal.timeout(askMs)]);
  const answer = await askJson(base, "/sdapi/v1/progress?skip_current_image=true", { signal: limited }).catch(() => undefined);
  if (!answer || answer.status !== 200 || typeof answer.body !== "object" || answer.body === null) return undefined;
  const { progress, eta_relative: eta, state, queued } = answer.body as { progress?: unknown; eta_relative?: unknown; state?: unknown; queued?: unknown };
  const {
    job_count: count,
    sampling_step: step,
    sampling_steps: steps,
  } = (typeof state === "object" && state !== null ? state : {}) as Record<string, unknown>;
  return {
    // A1111 counts -1 from a job's begin until it knows its batches; the other fields linger after a job's end.
    isBusy: (typeof count === "number" && count !== 0) || (typeof queued === "number" && queued > 0),
    fraction: typeof progress === "number" ? Math.min(1, Math.max(0, progress)) : 0,
    // 0 steps: the job runs, but its sampling has not begun.
    ...(typeof step === "number" && typeof steps === "number" && steps > 0 ? { step, steps } : {}),
    ...(typeof eta === "number" && eta > 0 ? { etaMs: Math.round(eta * 1000) } : {}),
  };
}

export interface StopOptions {
  readonly base: Base;
  /** The engine's own task id, where it can interrupt one task (the bundled engine); A1111 cannot. */
  readonly taskId: string | undefined;
  /** Settles when the job's request has ended. */
  readonly ended: Promise<unknown>;
  readonly letGoMs: number;
}

/**
 * Interrupts our running job until its request ends. Once is not enough: A1111 forgets an interrupt that comes before the job
 * began (a model may still be loading). A1111's interrupt hits whatever runs, so it is sent only while our request is open and
 * something runs. False when the engine did not let go in time.
 */
export async function stopJob({ base, taskId, ended, letGoMs }: StopOptions): Promise<boolean> {
  const over = new AbortController();
  const done = ended.then(
    () => true,
    () => true,
  );
  void done.then(() => over.abort());
  const limit = AbortSignal.any([over.signal, AbortSignal.timeout(letGoMs)]);
  for (let tries = 1; !limit.aborted; tries++) {
    const isOurs = taskId !== undefined || (await readProgress(base, { signal: limit }))?.isBusy === true;
    const path = taskId === undefined ? interruptPath : `${interruptPath}?force_task_id=${encodeURIComponent(taskId)}`;
    if (isOurs && !limit.aborted) await askJson(base, path, { method: "POST", signal: AbortSignal.any([limit, AbortSignal.timeout(askMs)]) }).catch(() => {});
    await pause(backoffMs(tries, again), { signal: limit });
  }
  return over.signal.aborted;
}

export interface SettleOptions {
  readonly signal: AbortSignal;
  progress(): Promise<SdapiProgress | undefined>;
  interrupt(): Promise<unknown>;
}

/** Interrupts whatever a former life left running, until the engine is idle. Two looks in a row, because between two queued jobs it seems idle. */
export async function settle({ signal, progress, interrupt }: SettleOptions): Promise<void> {
  let idle = 0;
  for (let tries = 1; idle < 2; tries++) {
    signal.throwIfAborted();
    const seen = await progress();
    if (seen?.isBusy === false) idle += 1;
    else idle = 0;
    if (seen?.isBusy) await interrupt().catch(() => {});
    if (idle < 2) await pause(backoffMs(idle > 0 ? 1 : tries, again), { signal });
  }
}
