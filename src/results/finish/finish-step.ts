// results/finish/ owns what becomes of a checked output before it is sealed: formats, sinks, the bucket, the caller's shape, the size.
// Takes: an engine's output, from its files. Gives: another output, or why there is none. Nothing large is ever held: images are
// found by their places in the answer's text, and a new answer is put together from pieces of files.
import type { Config } from "../../config/schema/index.ts";
import { FettleError } from "../../errors/fettle-error.ts";
import type { EngineOutput } from "../../engines/engine.ts";
import type { Failure } from "../../jobs/finisher.ts";
import type { OutputStep } from "../../jobs/run-job.ts";
import type { Log } from "../../log/log.ts";
import { createSinks } from "../sinks/index.ts";
import { bucketOf, checkBucket } from "./buckets.ts";
import { finishOutput } from "./finish-output.ts";

export interface FinishSettings {
  readonly results: Config["results"];
  readonly blackImages: Config["jobs"]["blackImages"];
  /** Folder under which the bundled helper is unpacked. */
  readonly assetRoot: string;
  readonly log: Log;
}

/** The one step that all results go through. Throws `config.invalid` at once when the configuration cannot be used. */
export function createFinishStep({ results, log, ...more }: FinishSettings): OutputStep {
  const parts = { ...more, results, sinks: createSinks(results), bucket: bucketOf(results) };
  if (parts.bucket) checkBucket(parts.bucket);
  return async (output, context) => {
    try {
      const { output: finished, warnings } = await finishOutput(output, context, parts);
      for (const warning of warnings) log.warn(warning, { job: context.job.id });
      return { type: "output", output: withWarnings(finished, warnings) };
    } catch (error) {
      if (error instanceof FettleError) return { type: "failed", failure: failureOf(error) };
      if (!context.signal.aborted) throw error;
      return { type: "failed", failure: { code: "job.shutting-down", message: "Cannot finish the job: fettle was stopped while its result was written." } };
    }
  };
}

function withWarnings(output: EngineOutput, warnings: readonly string[]): EngineOutput {
  return warnings.length === 0 ? output : { ...output, warnings: [...output.warnings, ...warnings] };
}

function failureOf({ code, message, where, details }: FettleError): Failure {
  return { code, message, ...(where?.path !== undefined && { path: where.path }), ...(Object.keys(details).length > 0 && { details }) };
}
