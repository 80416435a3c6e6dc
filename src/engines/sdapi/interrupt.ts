import { backoffMs } from "../../util/backoff.ts";
import { pause } from "../../util/pause.ts";
import type { Progress } from "../engine.ts";
import { askJson, type Base } from "../request.ts";

export const interruptPath = "/sdapi/v1/interrupt";
const askMs = 5000;
const again = { firstMs: 50, factor: 2, maxMs: 2000, jitter: 0 };

/** What /progress tells; undefined when the engine does not answer it. */
export interface SdapiProgress extends Progress {
  readonly isBusy: boolean;
  /** The task that it is about; only the bundled engine says so. */
  readonly task?: string;
}

/** One look at /progress. The preview costs the engine a decode, so it is left out unless it is wanted. */
export async function readProgress(base: Base, { signal, preview = false }: { signal: AbortSignal; preview?: boolean }): Promise<SdapiProgress | undefined> {
  const limited = AbortSignal.any([signal, AbortSignal.timeout(askMs)]);
  const answer = await askJson(base, `/sdapi/v1/progress?skip_current_image=${preview ? "false" : "true"}`, { signal: limited }).catch(() => undefined);
  if (!answer || answer.status !== 200 || typeof answer.body !== "object" || answer.body === null) return undefined;
  const { progress, eta_relative: eta, state, queued, current_task: task, current_image: image } = answer.body as Record<string, unknown>;
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
    ...(typeof task === "string" && task !== "" ? { task } : {}),
    ...(preview && typeof image === "string" && image !== "" ? { preview: { mime: mimeOf(image), base64: image } } : {}),
  };
}

/** By the first bytes; A1111 sends previews in the format of its samples. */
function mimeOf(base64: string): string {
  if (base64.startsWith("/9j/")) return "image/jpeg";
  return base64.startsWith("UklGR") ? "image/webp" : "image/png";
}

/** How long an engine may take to become idle after an interrupt; it cannot break off the loading of a model. */
export interface Patience {
  readonly letGoMs: number;
  readonly loadingMs: number;
}

/** It works, and has made no step of this job yet: a model may still be loading. */
function mayBeLoading(seen: SdapiProgress | undefined): boolean {
  return seen?.isBusy === true && (seen.step ?? 0) === 0 && seen.fraction < 0.02;
}

export interface StopOptions extends Patience {
  readonly base: Base;
  /** The engine's own task id, where it can interrupt one task (the bundled engine); A1111 cannot. */
  readonly taskId: string | undefined;
  /** Settles when the job's request has ended. */
  readonly ended: Promise<unknown>;
}

/**
 * Interrupts our running job until its request ends. Once is not enough: A1111 forgets an interrupt that comes before the job
 * began (a model may still be loading). A1111's interrupt hits whatever runs, so it is sent only while our request is open and
 * something runs. False when the engine did not let go in time.
 */
export async function stopJob({ base, taskId, ended, letGoMs, loadingMs }: StopOptions): Promise<boolean> {
  const over = new AbortController();
  const done = ended.then(
    () => true,
    () => true,
  );
  void done.then(() => over.abort());
  const path = taskId === undefined ? interruptPath : `${interruptPath}?force_task_id=${encodeURIComponent(taskId)}`;
  const beganMs = performance.now();
  const hasTime = (loading: boolean) => performance.now() - beganMs < (loading ? Math.max(loadingMs, letGoMs) : letGoMs);
  let loading = false;
  for (let tries = 1; !over.signal.aborted && hasTime(loading); tries++) {
    // The first interrupt of a task that has a name of its own needs no look before it.
    const seen = taskId !== undefined && tries === 1 ? undefined : await readProgress(base, { signal: over.signal });
    loading = mayBeLoading(seen);
    const isOurs = taskId !== undefined || seen?.isBusy === true;
    if (isOurs && !over.signal.aborted)
      await askJson(base, path, { method: "POST", signal: AbortSignal.any([over.signal, AbortSignal.timeout(askMs)]) }).catch(() => {});
    const restMs = Math.max(1, (loading ? loadingMs : letGoMs) - (performance.now() - beganMs));
    await pause(Math.min(restMs, backoffMs(tries, again)), { signal: over.signal });
  }
  return over.signal.aborted;
}

export interface SettleOptions extends Patience {
  readonly signal: AbortSignal;
  progress(): Promise<SdapiProgress | undefined>;
  interrupt(): Promise<unknown>;
}

/**
 * Interrupts whatever a former life left running, until the engine is idle. Two looks in a row, because between two queued jobs it
 * seems idle. Rejects when it does not become idle in time.
 */
export async function settle({ signal, progress, interrupt, letGoMs, loadingMs }: SettleOptions): Promise<void> {
  let idle = 0;
  const sinceMs = performance.now();
  for (let tries = 1; idle < 2; tries++) {
    signal.throwIfAborted();
    const seen = await progress();
    if (seen?.isBusy === false) idle += 1;
    else idle = 0;
    if (seen?.isBusy) await interrupt().catch(() => {});
    if (performance.now() - sinceMs > (mayBeLoading(seen) ? Math.max(loadingMs, letGoMs) : letGoMs) && idle === 0)
      throw new Error(`it is still busy ${Math.round((performance.now() - sinceMs) / 1000)} s after an interrupt`);
    if (idle < 2) await pause(backoffMs(idle > 0 ? 1 : tries, again), { signal });
  }
}
