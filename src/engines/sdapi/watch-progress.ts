import { pause } from "../../util/pause.ts";
import type { RunOptions } from "../engine.ts";
import { readProgress } from "./interrupt.ts";
import type { Base } from "../request.ts";

export interface WatchProgressOptions {
  readonly base: Base;
  /** The bundled engine queues: what it tells may be about another's job. */
  readonly taskId: string | undefined;
  readonly everyMs: number;
  readonly listeners: Omit<RunOptions, "signal">;
}

/** Tells what changed while a request runs, until `ended` aborts; asks nothing when nobody listens. */
export async function watchProgress({ base, taskId, everyMs, listeners }: WatchProgressOptions, ended: AbortSignal): Promise<void> {
  const { onProgress, onActivity, wantsPreviews } = listeners;
  if (!onProgress) return;
  let last = "";
  for (;;) {
    await pause(everyMs, { signal: ended });
    if (ended.aborted) return;
    const seen = await readProgress(base, { signal: ended, preview: wantsPreviews?.() === true });
    if (!seen?.isBusy || ended.aborted) continue;
    const { isBusy: _busy, task, ...progress } = seen;
    const text = JSON.stringify([task, progress.fraction, progress.step, progress.preview?.base64]);
    if (text === last) continue;
    last = text;
    if (taskId === undefined || task === taskId) onProgress(progress);
    else onActivity?.();
  }
}
