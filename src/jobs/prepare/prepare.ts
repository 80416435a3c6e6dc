// jobs/prepare/ owns the way from what a caller sent to what an engine is given: shapes of known clients, one schema of names,
// inputs fetched from URLs. Takes: a job's input. Gives: a request in the dialect of an engine's kind. Must not know sources or the journal.
import type { Failure } from "../finisher.ts";
import type { JobInput } from "../job.ts";
import type { JobBucket } from "./job-bucket.ts";

/** What a job says about itself rather than to the engine. */
export interface JobOptions {
  /** Attempts, causes and timings stand beside the output. */
  readonly meta: boolean;
  /** The answer's shape that this caller knows; `engine`: as the engine gave it. */
  readonly shape: "engine" | "template" | "worker-sdxl" | "worker-comfyui";
  /** Images are handed out in this format; undefined: as configured, else as the engine made them. */
  readonly format?: "png" | "jpeg" | "webp";
  /** 1..100, for jpeg and webp. */
  readonly quality?: number;
  /** All attempts together may take this long, ms. */
  readonly deadlineMs?: number;
  /** Its images go there, before any bucket that is configured. */
  readonly bucket?: JobBucket;
}

export const usualOptions: JobOptions = { meta: false, shape: "engine" };

/** A request in one engine's dialect. */
export interface EngineRequest {
  readonly type: "request";
  readonly input: Readonly<Record<string, unknown>>;
  /** One of the engine's calls, as `Attempt.call` has it; left out: decided by the input. */
  readonly call?: string;
  /** False: this call answers with any JSON, not with `images`. */
  readonly answersImages?: boolean;
  /** What did not stop the job but should be said, such as keys that this engine does not know. */
  readonly warnings: readonly string[];
}

/** A job whose inputs are here. `forEngine` is pure and may be asked again for another kind of engine. */
export interface PreparedJob {
  readonly type: "prepared";
  readonly options: JobOptions;
  forEngine(kind: string): EngineRequest | { readonly type: "invalid"; readonly failure: Failure };
}

/** Reads a job and gathers what it names. Runs before the job has an engine, so that no GPU waits for a download. */
export type Prepare = (job: JobInput, options: { signal: AbortSignal }) => Promise<PreparedJob | { readonly type: "invalid"; readonly failure: Failure }>;

/** Every job as it came. */
export const prepareUntouched: Prepare = async ({ input }) => ({
  type: "prepared",
  options: usualOptions,
  forEngine: () => ({ type: "request", input: input as Readonly<Record<string, unknown>>, warnings: [] }),
});
