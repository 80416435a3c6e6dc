import { FettleError } from "../errors/fettle-error.ts";
import type { OutputStep } from "../jobs/run-job.ts";
import type { Sink } from "../results/sinks/sink.ts";

/** A sink as a step of every job: a result that cannot be stored where it was promised is a failed job. */
export function storeIn(sink: Sink): OutputStep {
  return async (output, { job }) => {
    try {
      await sink.store(job, output);
      return { type: "output", output };
    } catch (error) {
      if (error instanceof FettleError) return { type: "failed", failure: { code: error.code, message: error.message } };
      throw error;
    }
  };
}
