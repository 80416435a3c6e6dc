import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Progress } from "../engines/engine.ts";
import { FettleError } from "../errors/fettle-error.ts";
import { exactDuration } from "../util/duration.ts";
import type { Job } from "./job.ts";
import { type Former, removeLeftovers, type RunState } from "./run-state.ts";
import type { Target } from "./target.ts";
import { type ImagePlaces, readAnswer, type WrittenImage } from "./write-images.ts";

/** What a job gave; its keys are those of `--json`. */
export interface JobResult {
  readonly images: readonly WrittenImage[];
  /** The first image's. */
  readonly seed?: number;
  readonly parameters: unknown;
  readonly info: unknown;
  readonly warnings: readonly string[];
  readonly engineMs: number;
}

export interface RunOneParts {
  readonly target: Target;
  readonly places: ImagePlaces;
  /** Where working folders are made. */
  readonly spoolDir: string;
  readonly date: Date;
  readonly jobTimeoutMs: number | undefined;
  readonly signal: AbortSignal;
}

export interface RunOneOptions {
  readonly n: number;
  onProgress?(progress: Progress): void;
  /** The memory of a run of many jobs. */
  readonly memory?: { readonly state: RunState; readonly key: string; readonly former: Former | undefined };
}

/** Runs one job to its written images. Rejects with the job's own failure; nothing of a failed job is written. */
export async function runOne(job: Job, { target, places, spoolDir, date, jobTimeoutMs, signal }: RunOneParts, options: RunOneOptions): Promise<JobResult> {
  const { n, onProgress, memory } = options;
  const begun = memory?.former?.type === "begun" ? memory.former : undefined;
  const own = new Set(begun?.files.map(({ path }) => path));
  const limit = jobTimeoutMs === undefined ? undefined : AbortSignal.timeout(jobTimeoutMs);
  const dir = mkdtempSync(join(spoolDir, "job-"));
  try {
    const { output, engineMs } = await target.run(job, {
      dir,
      signal: limit ? AbortSignal.any([signal, limit]) : signal,
      ...(onProgress && { onProgress }),
      ...(begun?.sentAs !== undefined && { sentAs: begun.sentAs }),
      ...(memory && { onSent: (id) => memory.state.sent(memory.key, id) }),
    });
    const answer = readAnswer(output);
    const files = places.plan(output, answer, { n, job: job.id, prompt: job.input["prompt"], date }, own);
    memory?.state.writing(memory.key, files);
    const images = places.write(files, own);
    const seed = images[0]?.seed;
    const { parameters, info } = answer;
    const result = { images, ...(seed !== undefined && { seed }), parameters, info, warnings: output.warnings, engineMs: Math.round(engineMs) };
    const paths = images.map(({ path }) => path);
    memory?.state.done(memory.key, paths, { images, ...(seed !== undefined && { seed }) });
    removeLeftovers(memory?.former, paths);
    return result;
  } catch (error) {
    if (!signal.aborted && limit?.aborted)
      throw new FettleError("engine.timeout", `Cannot finish the job: no image after --job-timeout ${exactDuration(jobTimeoutMs ?? 0)}.`, { cause: error });
    throw error;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
