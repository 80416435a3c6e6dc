import { FettleError } from "../../errors/fettle-error.ts";
import type { OutputContext } from "../../jobs/run-job.ts";

/** `{"output":` and `}`, and what else a source may put beside an output. */
const envelopeBytes = 64;
/** The job's record stands beside the output when it says `meta: true`; some attempts, causes and times. */
const metaBytes = 32_768;

/** How large an answer may be so that the sealed body is small enough for its source. */
export function roomFor({ maxBytes, options }: Pick<OutputContext, "maxBytes" | "options">): number {
  if (maxBytes === undefined) return Number.POSITIVE_INFINITY;
  return maxBytes - envelopeBytes - (options.meta ? metaBytes : 0);
}

export function tooLarge(answerBytes: number, { maxBytes }: Pick<OutputContext, "maxBytes">, why = ""): FettleError {
  const message = `Cannot deliver the result: it has ${answerBytes + envelopeBytes} bytes, and its source takes at most ${maxBytes}${why}.`;
  return new FettleError("result.too-large", message, { details: { sizeBytes: answerBytes + envelopeBytes, maxBytes } });
}
