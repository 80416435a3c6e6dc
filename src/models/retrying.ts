import { backoffMs } from "../util/backoff.ts";
import { pause } from "../util/pause.ts";
import { Fault } from "./fault.ts";
import type { ModelSettings } from "./settings.ts";

type Rules = Pick<ModelSettings, "tries" | "firstRetryMs">;

export interface Try {
  /** The work came further than ever before: the tries are counted anew. */
  progressed(): void;
}

/** Does the work again after a passing fault, later and later; gives the last fault after so many tries without progress. */
export async function retrying<T>(rules: Rules, { signal }: { signal: AbortSignal }, work: (one: Try) => Promise<T>): Promise<T> {
  let failures = 0;
  for (;;) {
    try {
      return await work({ progressed: () => void (failures = 0) });
    } catch (error) {
      if (!(error instanceof Fault) || !error.passing) throw error;
      failures += 1;
      if (failures >= rules.tries) throw again(error, failures);
      const waitMs = backoffMs(failures, { firstMs: rules.firstRetryMs, factor: 2, maxMs: 30_000, jitter: 0.3 });
      await pause(Math.max(waitMs, error.retryAfterMs ?? 0), { signal });
      signal.throwIfAborted();
    }
  }
}

const again = ({ code, reason, hint }: Fault, tries: number): Fault => new Fault(code, tries > 1 ? `${reason}, ${tries} times in a row` : reason, { hint });
