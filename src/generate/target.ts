import type { EngineOutput, Progress } from "../engines/engine.ts";
import type { Job } from "./job.ts";

export interface TargetRun {
  /** An empty folder for the answer and its images; the caller's. */
  readonly dir: string;
  /** Aborting calls the job off where it runs; `run` then rejects once that is done. */
  readonly signal: AbortSignal;
  onProgress?(progress: Progress): void;
  /** The id under which a running instance was asked by a former run, if it was. */
  readonly sentAs?: string;
  /** Called with such an id before the job is on its way, and again when the other side gave it another one. */
  onSent?(id: string): void;
}

export interface Made {
  readonly output: EngineOutput;
  readonly engineMs: number;
}

/** What makes the images: an engine of our own, one that runs elsewhere, or a whole instance. */
export interface Target extends AsyncDisposable {
  /** Jobs that it takes at once. */
  readonly slots: number;
  /** More jobs than `slots` may be sent: they wait there. */
  readonly canQueue: boolean;
  /** Rejects with a FettleError: the job's own failure, or one that `stopsEverything`. */
  run(job: Job, options: TargetRun): Promise<Made>;
}
